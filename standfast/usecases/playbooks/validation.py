"""The check of playbooks before they are needed: also what a run would only meet at night.

Owns the words of notices, which are written from a step's context. Leaves soundness to
`playbook.check`, which decides as well whether an incident may be opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from standfast.config import Config
from standfast.errors import PlaybookInvalid, Problem, TemplateInvalid
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions import ACTIONS
from standfast.playbook.cacao import is_cacao
from standfast.playbook.expressions import embedded
from standfast.playbook.model import Playbook
from standfast.playbook.validation.playbook_rules import Known, check_text
from standfast.usecases.playbooks import library

# Values of a notice that the program fills in, whatever the playbook says.
_FILLED_IN = ("organisation", "contact_line", "incident_id", "measures")


def check_files(config: Config | None, names: Sequence[str]) -> list[Playbook]:
    """Check playbooks by name or path; PlaybookInvalid has all that is wrong in any of them."""
    here = library.known(config)
    sound: list[Playbook] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(library.named(config, name) for name in names):
        try:
            playbook, found = _checked(library.text_of(path), str(path), here, config)
        except PlaybookInvalid as error:
            playbook, found = None, list(error.problems)
        problems += found
        if playbook is not None and not found:
            sound.append(playbook)
    if problems:
        raise PlaybookInvalid(problems)
    return sound


def _checked(
    text: str, file: str, here: Known, config: Config | None
) -> tuple[Playbook | None, list[Problem]]:
    """Check the text of a playbook, ours or CACAO: told by what it says, not by its name."""
    is_foreign = is_cacao(text)
    if is_foreign:
        from standfast.playbook.cacao.importer import import_cacao

        text = import_cacao(text, file).text
    playbook, found = check_text(text, file, here)
    if playbook and config and not found:
        found = _judge_words(playbook, config)
    if is_foreign:  # the lines are of no file that exists
        found = [replace(one, line=0) for one in found]
    return playbook, found


def _judge_words(playbook: Playbook, config: Config) -> list[Problem]:
    """Return why notices cannot be written from their context, as far as it is known beforehand."""
    templates = read_templates(config.notices.templates)
    problems: list[Problem] = []
    for step in playbook.steps:
        name, given = step.arguments.get("template"), step.arguments.get("context")
        action = ACTIONS.get(step.action or "")
        if action is None or not action.is_notice or not isinstance(name, str):
            continue
        if embedded(name) is not None:
            continue
        template = templates[name]
        examples = template.example_context()
        always = {one: examples[one] for one in _FILLED_IN if one in examples}
        context = {
            key: examples.get(key, "") if embedded(value) is not None else value
            for key, value in (given.items() if isinstance(given, Mapping) else ())
        }
        try:
            prepare(template, {**always, **context})
        except TemplateInvalid as error:
            problems += [
                Problem(
                    file=playbook.file,
                    line=step.line_of("with"),
                    message=f"step `{step.name}`: {line.strip()}",
                )
                for line in str(error).splitlines()
                if not line.startswith(" ")
            ]
    return problems
