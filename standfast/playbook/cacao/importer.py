"""Conversion of a CACAO document to a playbook, with its warnings.

CACAO is a standard format of OASIS for playbooks. Each part that cannot be converted causes a
warning.

Rules
- A playbook that this program exported contains its original steps in CACAO extensions, and is
  restored from them. If the extensions differ from the steps that other tools show (the visible
  steps), somebody changed the file. Then only the visible steps are imported.
- A `manual` command becomes a manual step. A `bash`, `ssh` or `powershell` command becomes a step
  that runs a command by name; `http-api` and `openc2-http` become a step that sends a request by
  name. Until the configuration defines that command or request, the step is refused. Each of these
  steps needs an approval, because the file is foreign.
- Other commands, playbooks within playbooks, and loops become manual steps, with a warning.
- A condition that compares one input with a fixed value is converted. Any other condition becomes a
  question to a person.
- A failed step waits for a person, as in every playbook. The branch `on_failure` begins after a
  person accepted the failed step.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from standfast.errors import PlaybookInvalid, Problem
from standfast.playbook.actions.http_request import REQUEST
from standfast.playbook.actions.run_command import RUN
from standfast.playbook.cacao.document import Document, read_document, refused
from standfast.playbook.cacao.exporter import export_cacao
from standfast.playbook.cacao.semantics import edges, used_variables
from standfast.playbook.cacao.step_extension import EXTENSION, HEAD, ORDER, STEP
from standfast.playbook.cacao.step_order import Choice, Flow, Place
from standfast.playbook.cacao.text_sanitizer import (
    clean,
    command_text,
    is_plain,
    literal,
    one_line,
    slug,
    unique,
)
from standfast.playbook.cacao.variables import inputs_of
from standfast.playbook.parser.playbook_file import MOST_STEPS, load

_LOCAL = dict.fromkeys(("bash", "ssh", "powershell"), RUN)
_REMOTE = dict.fromkeys(("http-api", "openc2-http"), REQUEST)
_EXECUTED = _LOCAL | _REMOTE
_EQUALS = re.compile(
    r"\s*(__[\w-]+?__):value\s*(=|==|!=)\s*(?:'([^'\\]*)'|\"([^\"\\]*)\"|(-?\d+))\s*"
)
_SWITCH = re.compile(r"\s*(__[\w-]+?__)(?::value)?\s*")
_NONE = "none of these"
_SHOWN = ("name", "description", "workflow_start", "workflow", "playbook_variables")
_CHANGED = (
    f"$.playbook_extensions['{EXTENSION}']: differs from the visible steps. Only the visible steps "
    "were imported."
)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A playbook as YAML, and warnings for a person."""

    text: str
    warnings: tuple[str, ...]


def import_cacao(text: str, file: str) -> Imported:
    """Convert a CACAO file; PlaybookInvalid lists the reasons of a failure."""
    document = read_document(text, file)
    head = document.get("playbook_extensions", {}).get(EXTENSION)
    own = None if head is None else _as_yaml(_restore_exported(document, head, text, file))
    if own is not None and _equals_extensions(document, own, file):
        imported = Imported(text=own, warnings=())
    else:
        maker = _Converter(document)
        try:
            body = maker.playbook()
        except ValueError as error:
            raise refused(text, file, "$.workflow", str(error)) from None
        if len(body["steps"]) > MOST_STEPS:
            message = f"needs more than {MOST_STEPS} steps here"
            raise refused(text, file, "$.workflow", message)
        changed = () if own is None else (_CHANGED,)
        imported = Imported(text=_as_yaml(body), warnings=(*changed, *maker.warnings))
    try:
        load(imported.text, file)  # checks that the result is a valid playbook
    except PlaybookInvalid as error:
        raise _without_lines(error) from None
    return imported


def _without_lines(error: PlaybookInvalid) -> PlaybookInvalid:
    """Return the error without lines: they refer to the converted text."""
    return PlaybookInvalid([replace(problem, line=0) for problem in error.problems])


def _restore_exported(
    document: Document, head: Mapping[str, Any], text: str, file: str
) -> dict[str, Any]:
    """Restore a playbook that was exported by this program."""
    steps: dict[str, Any] = {}
    order = head.get(ORDER)
    found = {
        extension["name"]: extension[STEP]
        for step in document["workflow"].values()
        if (extension := step.get("step_extensions", {}).get(EXTENSION))
        and isinstance(extension.get("name"), str)
        and STEP in extension
    }
    if not isinstance(order, list) or not isinstance(head.get(HEAD), dict):
        path, message = f"$.playbook_extensions['{EXTENSION}']", f"lacks `{HEAD}` or `{ORDER}`"
        raise refused(text, file, path, message)
    for name in order:
        if not isinstance(name, str) or name not in found:
            message = "a step named by the extension is missing"
            raise refused(text, file, "$.workflow", message)
        steps[name] = found[name]
    return {**head[HEAD], "steps": steps}


def _equals_extensions(document: Document, own: str, file: str) -> bool:
    """Return whether the visible steps equal the steps in the extensions."""
    try:
        shown = json.loads(export_cacao(load(own, file), datetime.now(UTC)))
    except PlaybookInvalid as error:
        raise _without_lines(error) from None
    return all(document.get(key) == shown.get(key) for key in _SHOWN)


class _Converter:
    """Converter of one foreign document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._workflow: Mapping[str, Mapping[str, Any]] = document["workflow"]
        self._flow = Flow(document)
        self._names: set[str] = set()
        self._last: dict[str, list[str]] = {}  # step of the document → last of its converted steps
        self._conditions: dict[Choice, str] = {}  # condition of each branch
        self._inputs = inputs_of(document)
        self.warnings: list[str] = []
        self.steps: dict[str, dict[str, Any]] = {}

    def playbook(self) -> dict[str, Any]:
        """Return the playbook as plain values."""
        for name, place in self._flow.in_order():
            self._add(name, place)
        if not self.steps:
            self.steps["nothing"] = {"title": "Nothing to do", "manual": "There is nothing to do."}
        if "workflow_exception" in self._document:
            self.warnings.append(
                "$.workflow_exception: not imported. A failed step waits for a person here."
            )
        name = self._document["name"]
        body: dict[str, Any] = {
            "playbook": slug(name, "-") or "imported",
            "version": 1,
            "title": one_line(name) or "Imported",
            "use_when": clean(self._document.get("description", ""))[:1000]
            or one_line(name)
            or "-",
        }
        if self._inputs:
            body["inputs"] = {given.name: given.as_yaml() for given in self._inputs.values()}
        return {**body, "steps": self.steps}

    def _add(self, name: str, place: Place) -> None:
        step = self._workflow[name]
        title = (
            one_line(step.get("name", "")) or one_line(step.get("description", "")) or step["type"]
        )
        needs = list(dict.fromkeys(last for need in place.needs for last in self._last[need]))
        condition = self._condition(place)
        for number, body in enumerate(self._bodies(name, step)):
            own = unique(slug(title, "_") or "step", self._names)
            whole: dict[str, Any] = {"title": title}
            if number:
                whole["title"] = f"{title[:180]} ({number + 1})"
            if needs:
                whole["needs"] = needs
            if condition:
                whole["when"] = condition
            for key, section in (("command", "commands"), ("request", "requests")):
                if body.get("with", {}).get(key) == "":
                    body["with"][key] = own
                    command = step["commands"][number]
                    self._warn(
                        name,
                        f"{command['type']} runs as [{section}.{own}], which the configuration "
                        f"must allow. The file has: {one_line(command_text(command))}",
                    )
            self.steps[own] = whole | body
            needs = [own]
        self._last[name] = needs
        self._note_conditions(name, step)

    def _bodies(self, name: str, step: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the playbook steps that replace a step of the document.

        A condition or switch on one input needs no step: the steps in its branches have it as their
        condition.
        """
        match step["type"]:
            case "action":
                bodies = [self._command(name, command) for command in step["commands"]]
                if self._flow.decides(name) and "manual" in bodies[-1]:
                    question = self._cut(name, bodies[-1]["manual"], 900)
                    bodies[-1] = {"decide": f"{question} Done?", "options": ["done", "failed"]}
                return bodies
            case "playbook-action":
                self._warn(name, "a playbook within a playbook becomes a manual step")
                return [{"manual": f"Carry out the playbook {step['playbook_id']}."}]
            case "while-condition":
                self._warn(name, "a loop becomes a manual step: steps cannot be repeated here")
                return [{"manual": self._loop(name, step)}]
            case "if-condition":
                if self._equality(step["condition"]) is not None:
                    return []
                self._warn(name, "its condition depends on more than inputs and becomes a question")
                question = f"Is this true? {self._cut(name, step['condition'], 970)}"
                return [{"decide": question, "options": ["yes", "no"]}]
            case _:
                if self._switched(step) is not None:
                    return []
                self._warn(name, "its switch depends on more than an input and becomes a question")
                question = f"Which is it? {self._cut(name, step['switch'], 970)}"
                return [{"decide": question, "options": _options(step)}]

    def _command(self, name: str, command: Mapping[str, Any]) -> dict[str, Any]:
        kind, text = command["type"], command_text(command)
        if kind not in _EXECUTED:
            if kind != "manual":
                self._warn(name, f"a command of type {kind} becomes a manual step")
            instructions = self._cut(name, text, 9000) or "No description."
            return {"manual": instructions if kind == "manual" else f"{kind}: {instructions}"}
        parameters = {
            self._inputs[variable].name: f"{{{{ inputs.{self._inputs[variable].name} }}}}"
            for variable in sorted(used_variables(dict(command)) | used_variables(text))
            if variable in self._inputs
        }
        arguments: dict[str, Any] = {"command" if kind in _LOCAL else "request": ""}
        if parameters:
            arguments["parameters"] = parameters
        who = f"Imported: a {kind} command of a foreign playbook."
        return {"do": _EXECUTED[kind], "with": arguments, "approval": {"count": 1, "reason": who}}

    def _condition(self, place: Place) -> str:
        conditions = [self._conditions[choice] for choice in place.choices or ()]
        if len(conditions) == 1:
            return conditions[0]
        return " and ".join(f"({condition})" for condition in conditions)

    def _note_conditions(self, name: str, step: Mapping[str, Any]) -> None:
        """Record the condition of each branch of a converted step."""
        last = self._last[name][-1] if self._last[name] else ""
        conditions: dict[str, str] = {}
        match step["type"]:
            case "if-condition":
                equality = self._equality(step["condition"])
                yes = equality or f'answers.{last} == "yes"'
                no = f"not ({equality})" if equality else f'answers.{last} == "no"'
                conditions = {"on_true": yes, "on_false": no}
            case "switch-condition":
                conditions = self._cases(step, last)
            case "action" if last:
                is_asked = "decide" in self.steps[last]
                fact = f"answers.{last}" if is_asked else f"steps.{last}.state"
                conditions = {"on_success": f'{fact} == "done"', "on_failure": f'{fact} != "done"'}
            case "playbook-action" | "while-condition" if last:
                fact = f"steps.{last}.state"
                conditions = {"on_success": f'{fact} == "done"', "on_failure": f'{fact} != "done"'}
        self._conditions |= {
            Choice(step=name, branch=key): text for key, text in conditions.items()
        }

    def _cases(self, step: Mapping[str, Any], last: str) -> dict[str, str]:
        fact = self._switched(step)
        conditions = {}
        for case in step["cases"]:
            if fact is None:
                conditions[f"cases[{case!r}]"] = f"answers.{last} == {literal(_option(case))}"
            elif case == "default":
                others = [c for c in step["cases"] if c != "default"]
                conditions["cases['default']"] = (
                    " and ".join(f"{fact} != {literal(other)}" for other in others) or "True"
                )
            else:
                conditions[f"cases[{case!r}]"] = f"{fact} == {literal(case)}"
        return conditions

    def _equality(self, condition: str) -> str | None:
        """Return a condition that compares one input with a fixed value, or None."""
        match = _EQUALS.fullmatch(condition)
        if match is None or match[1] not in self._inputs:
            return None
        given = self._inputs[match[1]]
        operator = "!=" if match[2] == "!=" else "=="
        value = match[3] if match[3] is not None else match[4]
        if match[5] is not None:
            return f"inputs.{given.name} {operator} {match[5]}" if given.type == "number" else None
        if given.type == "flag" and value.lower() in ("true", "false"):
            return f"inputs.{given.name} {operator} {value.capitalize()}"
        return f"inputs.{given.name} {operator} {literal(value)}" if given.type == "text" else None

    def _switched(self, step: Mapping[str, Any]) -> str | None:
        match = _SWITCH.fullmatch(step["switch"])
        if match is None or match[1] not in self._inputs:
            return None
        given = self._inputs[match[1]]
        are_plain = all(is_plain(case) for case in step["cases"])
        return f"inputs.{given.name}" if given.type == "text" and are_plain else None

    def _loop(self, name: str, step: Mapping[str, Any]) -> str:
        lines, left, seen = [], [step["on_true"]], set[str]()
        while left:
            inner = left.pop(0)
            if inner in seen:
                continue
            seen.add(inner)
            inner_step = self._workflow[inner]
            if inner_step["type"] not in ("start", "end"):
                texts = (clean(command_text(command)) for command in inner_step.get("commands", ()))
                words = "; ".join(" ".join(text.split()) for text in texts)
                lines.append(
                    f"- {one_line(inner_step.get('name', '')) or inner_step['type']}: {words}"
                )
            left += [other for _, other in edges(inner_step)]
        condition = self._cut(name, step["condition"], 900)
        return f"While this is true: {condition}\n" + self._cut(name, "\n".join(lines), 8000)

    def _cut(self, name: str, text: str, most: int) -> str:
        """Return a text of at most `most` characters; warn if it was cut."""
        whole = clean(text)
        if len(whole) > most:
            self._warn(name, f"its text is cut after {most:,} characters. The rest is in the file.")
        return whole[:most]

    def _warn(self, name: str, message: str) -> None:
        self.warnings.append(f"$.workflow['{name}']: {message}")


def _option(case: str) -> str:
    return _NONE if case == "default" else one_line(case) or _NONE


def _options(step: Mapping[str, Any]) -> list[str]:
    options = [_option(case) for case in step["cases"]]
    if len(options) < 2:
        options.append(_NONE if options != [_NONE] else "something else")
    return options


def _as_yaml(body: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 100
    yaml.allow_unicode = True
    written = io.StringIO()
    try:
        yaml.dump(_quote_texts(body), written)
    except (YAMLError, TypeError, ValueError) as error:
        message = f"cannot be written as YAML: {type(error).__name__}"
        raise PlaybookInvalid([Problem(file="", line=0, message=message)]) from None
    return written.getvalue()


def _quote_texts(value: Any) -> Any:
    """Quote every text, so that none is read as a number or as yes or no."""
    if isinstance(value, str):
        lines = value.removesuffix("\n").split("\n")
        is_plain = all(line == line.rstrip() and (not line or line.isprintable()) for line in lines)
        if len(lines) > 1 and is_plain and lines[0][:1].strip() and lines[-1]:
            return LiteralScalarString(value)
        return DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        return {key: _quote_texts(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_quote_texts(inner) for inner in value]
    return value
