"""Checks of a playbook: graph, names, roles, actions, needed approvals.

    problems = check(playbook, known)   # `known` has the names in the configuration

This module checks the graph, the actions and the names; `expression_rules` checks expressions.

Rules
- All problems are reported, in line order, with a hint if one is known.
- A step that can never begin is a problem, whatever the reason.
- A step that cannot be undone needs an approval, or the reason why it needs none.
- A notice (a message to the people concerned) without an approval must need all steps that lock
  accounts, or a step that a person answers. Otherwise an intruder may read it in a mailbox that is
  not locked.
- A notice to people other than the organisation's own staff always needs an approval.
- An argument that names a notice, an audience (list of recipients), an evidence source or a sender
  (message channel) must name an existing one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from standfast.errors import Problem
from standfast.playbook.action_arguments import fits, wanted
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.action import Action, ArgumentType, Use
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.actions.shared_arguments import AFFECTED
from standfast.playbook.answer_dependencies import ASKS
from standfast.playbook.expressions import embedded
from standfast.playbook.model import InputType, Playbook, Step, StepKind
from standfast.playbook.parser.field_reader import Notes, close_to
from standfast.playbook.parser.playbook_file import load_partial
from standfast.playbook.step_graph import all_needs, cycles, in_order
from standfast.playbook.validation.expression_rules import judge_argument, judge_condition
from standfast.records import Json


@dataclass(frozen=True, kw_only=True)
class Known:
    """Names that exist in the configuration; None means not checked."""

    templates: frozenset[str] | None = None
    audiences: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    senders: frozenset[str] | None = None
    commands: frozenset[str] | None = None
    requests: frozenset[str] | None = None
    services: frozenset[str] | None = None
    sets: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    playbooks: frozenset[str] | None = None
    staff: frozenset[str] = frozenset({"staff"})  # audiences of the organisation's own staff
    irreversible: frozenset[str] = frozenset()  # commands.NAME and requests.NAME without an undo

    def names_for(self, kind: ArgumentType) -> frozenset[str] | None:
        """Return the valid names for an argument of this type; None means any."""
        by_type: Mapping[ArgumentType, frozenset[str] | None] = {
            ArgumentType.TEMPLATE: self.templates,
            ArgumentType.AUDIENCE: self.audiences,
            ArgumentType.SOURCES: self.sources,
            ArgumentType.SENDER: self.senders,
            ArgumentType.COMMAND: self.commands,
            ArgumentType.REQUEST: self.requests,
            ArgumentType.SERVICE: self.services,
            ArgumentType.SETS: self.sets,
        }
        return by_type.get(kind)


_CALLED = ("command", "request")
_ADD: Mapping[ArgumentType, str] = {
    ArgumentType.AUDIENCE: "add [audiences.{name}] to the configuration",
    ArgumentType.SOURCES: "add [evidence.{name}] to the configuration",
    ArgumentType.SENDER: "add [senders.{name}] to the configuration",
    ArgumentType.COMMAND: "add [commands.{name}] to the configuration",
    ArgumentType.REQUEST: "add [requests.{name}] to the configuration",
    ArgumentType.SERVICE: "add [services.{name}] to the configuration",
    ArgumentType.SETS: "add [backup.sets.{name}] to the configuration",
}


def check(playbook: Playbook, known: Known) -> list[Problem]:
    """Return all reasons why the playbook cannot run here, in line order."""
    notes = Notes(playbook.file)
    _judge_instead(playbook, known, notes)
    _judge_graph(playbook, notes)
    for step in playbook.steps:
        if step.when is not None:
            judge_condition(playbook, step, notes)
        _judge_roles(playbook, step, known, notes)
        if step.kind is StepKind.DO and step.action:
            _judge_action(playbook, step, known, notes)
    return notes.in_line_order()


def judge_order(playbook: Playbook) -> list[Problem]:
    """Return all reasons why the steps cannot be ordered, in line order.

    A reason is a cycle, or a need that is not a step.
    """
    notes = Notes(playbook.file)
    _judge_graph(playbook, notes)
    return notes.in_line_order()


def check_text(text: str, file: str, known: Known) -> tuple[Playbook | None, list[Problem]]:
    """Return the readable part of a playbook and all problems, in line order.

    The readable part is validated too, so that the author sees all problems at once.
    """
    playbook, problems = load_partial(text, file)
    if playbook is None or not playbook.steps:
        return playbook, problems
    unapproved = _unapproved(playbook, known)
    found = dict.fromkeys([*problems, *check(playbook, known), *unapproved])
    return playbook, sorted(found, key=lambda problem: problem.line)


def _unapproved(playbook: Playbook, known: Known) -> list[Problem]:
    """Return the problems of steps that lack a required approval.

    These problems are not part of `check`, because they do not prevent the opening of an incident.
    """
    notes = Notes(playbook.file)
    hint = "add `approval: {count: 1, roles: […]}`"
    for step in playbook.steps:
        action = ACTIONS.get(step.action or "")
        if step.approval:
            continue
        if action and (reason := action.approval_reason(step.arguments, known.staff)):
            message = f"step `{step.name}` {reason}, and nobody approves"
            notes.add(step.line_of("approval"), message, hint)
        called = next(
            (f"{key}s.{step.arguments[key]}" for key in _CALLED if key in step.arguments), ""
        )
        if called in known.irreversible and not step.no_approval_because:
            message = f"step `{step.name}` runs {called}, which has no undo, and nobody approves"
            notes.add(step.line_of("do"), message, f"{hint}, or `approval: {{none_because: …}}`")
    return notes.in_line_order()


def _judge_instead(playbook: Playbook, known: Known, notes: Notes) -> None:
    for name in playbook.instead:
        line = playbook.lines.get(f"instead.{name}", 0)
        if name == playbook.name:
            notes.add(line, f"`{name}` is this playbook itself", "name another playbook, or none")
        elif known.playbooks is not None and name not in known.playbooks:
            hint = close_to(name, known.playbooks - {playbook.name})
            notes.add(line, f"there is no playbook `{name}` to use instead", hint)


def _judge_graph(playbook: Playbook, notes: Notes) -> None:
    names = {step.name for step in playbook.steps}
    stuck: set[str] = set()
    for path in cycles(playbook):
        first = min((playbook.step(name) for name in path), key=lambda step: step.line)
        message = "these steps wait for each other: " + " needs ".join(path)
        notes.add(first.line_of("needs"), message, "remove one of these needs")
        stuck.update(path)
    for step in playbook.steps:
        for need in step.needs:
            if need not in names:
                key = "after" if need in step.after else "needs"
                message = f"step `{step.name}` needs `{need}`, which is not a step"
                notes.add(step.line_of(key), message, close_to(need, names - {step.name}))
                stuck.add(step.name)
    for step in in_order(playbook):
        if step.name in stuck:
            continue
        for need in step.needs:
            if need in stuck:
                message = f"step `{step.name}` can never begin, because `{need}` never can"
                notes.add(step.line_of("needs"), message)
                stuck.add(step.name)
                break


def _judge_roles(playbook: Playbook, step: Step, known: Known, notes: Notes) -> None:
    asked = [("roles", role) for role in step.roles]
    if step.approval:
        asked += [("approval", role) for role in step.approval.roles]
    for key, role in [*asked, *(("by", role) for role in step.by)]:
        if playbook.roles and role not in playbook.roles:
            message = f"step `{step.name}` names the role `{role}`, which `roles` does not list"
            notes.add(step.line_of(key), message, close_to(role, playbook.roles))
        elif key != "by" and known.roles is not None and role not in known.roles:
            message = f"step `{step.name}` asks for the role `{role}`, which nobody can have"
            notes.add(step.line_of(key), message, close_to(role, known.roles))


def _judge_action(playbook: Playbook, step: Step, known: Known, notes: Notes) -> None:
    usable = [verb for verb, action in ACTIONS.items() if action.use is Use.STEP]
    action = ACTIONS.get(step.action or "")
    if action is None:
        message = f"step `{step.name}` names no action that exists: `{step.action}`"
        notes.add(step.line_of("do"), message, close_to(step.action or "", usable))
        return
    if action.use is not Use.STEP:
        message = f"`{action.verb}` cannot be a step of its own"
        hint = "it is the undo of a step" if action.use is Use.UNDO else close_to("", usable)
        notes.add(step.line_of("do"), message, hint)
        return
    if playbook.is_quiet and action.verb == SEND:
        message = f"step `{step.name}` sends a notice, and the playbook is `quiet`"
        notes.add(step.line_of("do"), message, "notify them by hand, or remove `quiet`")
    if playbook.is_quiet and step.approval and not step.approval.roles:
        message = f"`approval` of step `{step.name}` names no role, so everybody would be asked"
        notes.add(step.line_of("approval"), message, "add `roles: […]`: the playbook is `quiet`")
    if step.undo != action.undo:
        message = f"`{step.undo}` does not undo `{action.verb}`"
        hint = f"its undo is `{action.undo}`" if action.undo else "it has no undo; remove the key"
        notes.add(step.line_of("undo"), message, hint)
    if action.is_irreversible and not step.approval and not step.no_approval_because:
        message = f"step `{step.name}` cannot be undone, and nobody is asked to approve it"
        hint = "add `approval: {count: 1, roles: […]}`, or `approval: {none_because: …}`"
        notes.add(step.line, message, hint)
    if action.verb == SEND and not step.approval:
        _judge_locks_before(playbook, step, notes)
    _judge_arguments(playbook, step, action, known, notes)


def _judge_locks_before(playbook: Playbook, step: Step, notes: Notes) -> None:
    """Report an unapproved notice that may be sent after a failed lock.

    If the notice needs the answer of a person, that person decides, and nothing is reported.
    """
    needed = all_needs(playbook, without_after=True)[step.name]
    if any(other.name in needed and other.kind in ASKS for other in playbook.steps):
        return
    for lock in playbook.steps:
        if lock.action == LOCK and lock.name not in needed:
            message = (
                f"step `{step.name}` sends its notice although `{lock.name}` may have failed, "
                "and nobody approves it: an intruder that is not locked out may read the notice"
            )
            hint = f"add `{lock.name}` to its `needs`, not to `after`; or ask for an approval"
            notes.add(step.line_of("after" if lock.name in step.after else "needs"), message, hint)


def _judge_arguments(
    playbook: Playbook, step: Step, action: Action, known: Known, notes: Notes
) -> None:
    for key in step.arguments:
        if key not in action.arguments:
            message = f"`{action.verb}` takes no argument `{key}`"
            notes.add(step.line_of(f"with.{key}"), message, close_to(key, action.arguments))
    for key, spec in action.arguments.items():
        line = step.line_of(f"with.{key}")
        value = step.arguments.get(key)
        if value is None:
            if spec.required:
                message = f"step `{step.name}` has no `{key}`: {spec.description}"
                notes.add(step.line_of("with"), message, f"add it under `with:` as `{key}: …`")
            continue
        if not judge_argument(playbook, step, key, spec, notes):
            continue
        if not _is_expression(value) and not fits(spec.type, value):
            notes.add(line, f"argument `{key}` must be {wanted(spec.type)}")
            continue
        names = known.names_for(spec.type)
        for name in _named(playbook, value) if names is not None else ():
            if spec.type is ArgumentType.AUDIENCE and name == AFFECTED:
                continue  # every incident has its own list of affected people
            if names is not None and name not in names:
                problem = f"there is no {spec.type.removesuffix('s')} `{name}`"
                if spec.type is ArgumentType.SOURCES:
                    problem = f"there is no evidence source `{name}`"
                if spec.type is ArgumentType.SETS:
                    problem = f"there is no backup set `{name}`"
                hint = close_to(name, names) if names else _ADD.get(spec.type, "")
                notes.add(line, f"step `{step.name}`: {problem}", hint.format(name=name))


def _is_expression(value: Json) -> bool:
    return embedded(value) is not None


def _named(playbook: Playbook, value: Json) -> Iterable[str]:
    """Return the names that the argument can have, if known in advance."""
    if isinstance(value, list | tuple):
        return [name for item in value for name in _named(playbook, item)]
    found = embedded(value)
    if found is None:
        return [value] if isinstance(value, str) and value != "all" else []
    path = found.path()
    if path and path[0] == "inputs":
        given = playbook.input(path[1])
        return given.options if given.type is InputType.CHOICE else ()
    return ()
