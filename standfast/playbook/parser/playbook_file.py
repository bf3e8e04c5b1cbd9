"""Parser of a playbook: keys of its file, from text to records.

    playbook = load(text, "lock.yaml")   # PlaybookInvalid lists every problem with its line

This module defines the keys of the format. `yaml_tree` reads YAML. `validation` checks whether the
names in the playbook exist, and whether each step can begin.

Rules
- All structural problems are reported at once, in line order.
- A step has exactly one of the keys `do`, `manual`, `decide` and `wait`. This key is the kind of
  the step, and each kind allows further keys.
- A `do` step without `undo` has the undo of its action. Without `on_partial`, the value is `go_on`
  if the action is reversible, otherwise `hold`.
"""

import hashlib
import keyword
import re
from dataclasses import replace
from functools import lru_cache

from standfast.errors import PlaybookInvalid, Problem
from standfast.playbook.actions import ACTIONS
from standfast.playbook.model import Approval, Input, InputType, OnPartial, Playbook, Step, StepKind
from standfast.playbook.parser.field_reader import LONGEST_TEXT, Fields, Notes, close_to
from standfast.playbook.parser.input_values import load_inputs, read_input
from standfast.playbook.parser.yaml_tree import Node, read_tree
from standfast.records import Json

__all__ = ["load", "load_inputs", "load_partial"]

MOST_STEPS = 100
LONGEST_DESCRIPTION = 500
LONGEST_PARAGRAPH = 1_000

KEYS = {
    StepKind.DO: ("do", "with", "approval", "undo", "on_partial"),
    StepKind.MANUAL: ("manual", "by", "roles"),
    StepKind.DECIDE: ("decide", "options", "facts", "by", "roles"),
    StepKind.WAIT: ("wait",),
}
_ALL_KEYS = frozenset(key for keys in KEYS.values() for key in keys)
IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
DASHED_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}", re.ASCII)
DASHED_HINT = "small letters, digits and hyphens, at most 40"


@lru_cache(maxsize=64)  # an incident in progress loads its playbook many times a second
def load(text: str, file: str) -> Playbook:
    """Read a playbook; PlaybookInvalid lists every structural problem.

    `file` is the name of the file in problems; no file is opened. `validation` checks the playbook
    further.
    """
    playbook, problems = load_partial(text, file)
    if problems or playbook is None:
        raise PlaybookInvalid(problems)
    return playbook


def load_partial(text: str, file: str) -> tuple[Playbook | None, list[Problem]]:
    """Read a playbook; return its readable part and all structural problems.

    The problems are in line order. If there are problems, the playbook is incomplete, and may be
    used only to find further problems.
    """
    try:
        root, problems = read_tree(text, file)
    except PlaybookInvalid as error:
        return None, list(error.problems)
    notes = Notes(file, problems)
    if not isinstance(root.value, dict):
        notes.add(root.line, "a playbook is a mapping of keys to values", "begin `playbook: NAME`")
        return None, notes.in_line_order()
    fields = Fields(root, "the playbook", notes)
    name = fields.text("playbook", required=True)
    if name and not DASHED_NAME.fullmatch(name):
        notes.add(
            fields.line_of("playbook"), f"`{name}` is not a valid name for a playbook", DASHED_HINT
        )
    lines: dict[str, int] = {}
    playbook = Playbook(
        name=name,
        version=fields.number("version", 1, 1, 1_000_000),
        title=fields.text("title", required=True),
        use_when=fields.text("use_when", required=True, longest=LONGEST_PARAGRAPH),
        instead=_descriptions("instead", fields, lines, notes),
        roles=_descriptions("roles", fields, lines, notes),
        is_quiet=fields.flag("quiet"),
        inputs=tuple(_input(key, node, notes) for key, node in fields.mapping("inputs").items()),
        steps=tuple(_step(key, node, notes) for key, node in fields.mapping("steps").items()),
        source=text,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        file=file,
        lines=lines,
    )
    if not fields.has("version"):
        notes.add(fields.line, "the playbook has no `version`", "count from 1")
    if not playbook.steps:
        notes.add(fields.line_of("steps"), "the playbook has no steps")
    if len(playbook.steps) > MOST_STEPS:
        notes.add(fields.line_of("steps"), f"the playbook has more than {MOST_STEPS} steps")
    fields.end()
    return playbook, notes.in_line_order()


def _descriptions(key: str, fields: Fields, lines: dict[str, int], notes: Notes) -> dict[str, str]:
    """Read a mapping of names to texts; add the line of each name to `lines`."""
    texts: dict[str, str] = {}
    for name, node in fields.mapping(key).items():
        if not DASHED_NAME.fullmatch(name):
            notes.add(node.line, f"`{name}` is not a valid name under `{key}`", DASHED_HINT)
        text = node.value.strip() if isinstance(node.value, str) else ""
        if not text or len(text) > LONGEST_DESCRIPTION:
            message = (
                f"`{name}` under `{key}` must be a text of at most {LONGEST_DESCRIPTION} characters"
            )
            notes.add(node.line, message)
        texts[name] = text
        lines[f"{key}.{name}"] = node.line
    return texts


def _input(name: str, node: Node, notes: Notes) -> Input:
    _judge_name(name, "an input", node.line, notes)
    fields = Fields(node, f"input `{name}`", notes)
    if not fields.has("type"):
        notes.add(fields.line, f"input `{name}` has no `type`", close_to("", InputType))
    kind = InputType(fields.choice("type", list(InputType), InputType.TEXT))
    declared = Input(
        name=name,
        type=kind,
        description=fields.text("description", longest=LONGEST_PARAGRAPH),
        required=fields.flag("required"),
        options=_options(fields, notes) if kind is InputType.CHOICE else (),
        line=node.line,
    )
    default: Json = False if kind is InputType.FLAG and not declared.required else None
    if fields.has("default"):
        default = _default(declared, fields, notes)
    fields.node("default")
    fields.end(elsewhere=["options"])
    return replace(declared, default=default)


def _default(declared: Input, fields: Fields, notes: Notes) -> Json:
    line = fields.line_of("default")
    value = fields.plain("default")
    if declared.required:
        notes.add(line, f"input `{declared.name}` is required, so its default is never used")
        return None
    if value is None:
        return False if declared.type is InputType.FLAG else None
    try:
        return read_input(declared, value)
    except ValueError as error:
        notes.add(line, f"the default of input `{declared.name}` does not fit: it {error}")
        return None


def _step(name: str, node: Node, notes: Notes) -> Step:
    _judge_name(name, "a step", node.line, notes)
    subject = f"step `{name}`"
    fields = Fields(node, subject, notes)
    kinds = [kind for kind in StepKind if fields.has(kind)]
    if len(kinds) != 1:
        hint = "exactly one of do, manual, decide, wait"
        notes.add(node.line, f"{subject} has no `do`, `manual`, `decide` or `wait`", hint)
    kind = kinds[0] if kinds else StepKind.MANUAL
    needs, after = fields.texts("needs"), fields.texts("after")
    step = Step(
        name=name,
        title=fields.text("title", required=True),
        kind=kind,
        needs=tuple(dict.fromkeys((*needs, *after))),
        after=after,
        when=fields.text("when", longest=LONGEST_TEXT) or None,
        line=node.line,
        lines=fields.lines(),
    )
    for twice in sorted({*needs} & {*after}):
        message = f"{subject} names `{twice}` under `needs` and under `after`"
        hint = "`needs` waits until it is done, `after` until it has ended with any result"
        notes.add(fields.line_of("after"), message, hint)
    if fields.has("when") and not step.when:
        notes.add(fields.line_of("when"), f"`when` of {subject} is empty", "remove it")
    if not kinds:
        return step
    step = _of_its_kind(step, fields, notes)
    for other in kinds[1:]:
        fields.node(other)  # mark the key as read: the problem is noted above
    fields.end(elsewhere=_ALL_KEYS.difference(KEYS[kind]))
    return step


def _of_its_kind(step: Step, fields: Fields, notes: Notes) -> Step:
    match step.kind:
        case StepKind.DO:
            return _do(step, fields, notes)
        case StepKind.MANUAL:
            instructions = fields.text("manual", required=True, longest=LONGEST_TEXT)
            by, roles = fields.texts("by"), fields.texts("roles")
            return replace(step, instructions=instructions, by=by, roles=roles)
        case StepKind.DECIDE:
            question = fields.text("decide", required=True, longest=LONGEST_PARAGRAPH)
            return replace(
                step,
                question=question,
                options=_options(fields, notes),
                facts=fields.texts("facts"),
                by=fields.texts("by"),
                roles=fields.texts("roles"),
            )
        case StepKind.WAIT:
            return replace(step, wait_seconds=fields.duration_seconds("wait"))


def _do(step: Step, fields: Fields, notes: Notes) -> Step:
    verb = fields.text("do", required=True)
    known = ACTIONS.get(verb)
    arguments = fields.mapping("with")
    for key, node in arguments.items():
        _judge_keys(key, node, notes)
    usual = OnPartial.GO_ON if known and not known.is_irreversible else OnPartial.HOLD
    approval, because = _approval(step.name, fields, notes)
    return replace(
        step,
        action=verb,
        arguments={key: node.plain() for key, node in arguments.items()},
        approval=approval,
        no_approval_because=because,
        undo=fields.text("undo") or (known.undo if known else None),
        on_partial=OnPartial(fields.choice("on_partial", list(OnPartial), usual)),
        lines=fields.lines() | {f"with.{key}": node.line for key, node in arguments.items()},
    )


def _options(fields: Fields, notes: Notes) -> tuple[str, ...]:
    options = fields.texts("options")
    if len({option.casefold() for option in options}) < max(2, len(options)):
        line = fields.line_of("options")
        notes.add(line, "`options` must be at least two texts that differ in more than case")
    return options


def _approval(step: str, fields: Fields, notes: Notes) -> tuple[Approval | None, str]:
    node = fields.node("approval")
    if node is None:
        return None, ""
    given = Fields(node, f"`approval` of step `{step}`", notes)
    if given.has("none_because"):
        because = given.text("none_because", required=True, longest=LONGEST_PARAGRAPH)
        given.end(elsewhere=["count", "roles", "escalate_after_minutes", "reason"])
        return None, because
    approval = Approval(
        count=given.number("count", 1, 1, 9),
        roles=given.texts("roles"),
        escalate_after_minutes=given.number("escalate_after_minutes", 15, 1, 1440),
        reason=given.text("reason", longest=LONGEST_PARAGRAPH),
    )
    given.end()
    return approval, ""


def _judge_name(name: str, subject: str, line: int, notes: Notes) -> None:
    if not IDENTIFIER.fullmatch(name) or keyword.iskeyword(name):
        hint = "small letters, digits and _, at most 40; not a word such as `in` or `not`"
        notes.add(line, f"`{name}` is not a valid name for {subject}", hint)


def _judge_keys(key: str, node: Node, notes: Notes) -> None:
    if not key.isascii():
        notes.add(node.line, f"`{key}` is not a valid name for an argument", "ASCII letters only")
    if isinstance(node.value, dict):
        for inner, below in node.value.items():
            _judge_keys(inner, below, notes)
    elif isinstance(node.value, list):
        for item in node.value:
            _judge_keys(key, item, notes)
