"""Validation of playbooks before an incident, including notice texts.

A playbook is the file with the steps of the response to one kind of incident. A notice is a message
to the people that the incident concerns; it is rendered from a template when its step begins. To
find an error is then too late. Therefore this module renders each notice with the values that its
step passes to the template. `standfast.playbook` validates all other parts, now and again when an
incident is opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from standfast.config import Config
from standfast.errors import PlaybookInvalid, Problem, TemplateInvalid
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions import ACTIONS
from standfast.playbook.cacao import is_cacao
from standfast.playbook.cacao.importer import import_cacao
from standfast.playbook.expressions import embedded
from standfast.playbook.model import Playbook
from standfast.playbook.validation.playbook_rules import Known, check_text
from standfast.usecases.playbooks import library

# Variables of notices that the program sets itself.
_FILLED_IN = ("organisation", "contact_line", "incident_id", "measures")


def check_files(config: Config | None, names: Sequence[str]) -> list[Playbook]:
    """Check playbooks by name or path, and return them.

    Raise PlaybookInvalid with all problems of all files.
    """
    known = library.known_names(config)
    valid: list[Playbook] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(library.find_file(config, name) for name in names):
        try:
            playbook, found = _checked(library.text_of(path), str(path), known, config)
        except PlaybookInvalid as error:
            playbook, found = None, list(error.problems)
        problems += found
        if playbook is not None and not found:
            valid.append(playbook)
    if problems:
        raise PlaybookInvalid(problems)
    return valid


def _checked(
    text: str, file: str, names: Known, config: Config | None
) -> tuple[Playbook | None, list[Problem]]:
    """Check the text of a playbook, in the format of Standfast or in CACAO."""
    is_foreign = is_cacao(text)
    if is_foreign:
        text = import_cacao(text, file).text
    playbook, found = check_text(text, file, names)
    if playbook and config and not found:
        found = _check_notice_texts(playbook, config)
    if is_foreign:  # line numbers are those of the converted text
        found = [replace(problem, line=0) for problem in found]
    return playbook, found


def _check_notice_texts(playbook: Playbook, config: Config) -> list[Problem]:
    """Return the problems of notices that cannot be rendered.

    A value that is known only in the incident is replaced by the example of the template.
    """
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
        always = {variable: examples[variable] for variable in _FILLED_IN if variable in examples}
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
