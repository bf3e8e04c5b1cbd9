"""Checks of expressions: reachable names, types, possible comparisons.

An expression is the condition of a step (`when`) or an argument of its action (`{{ … }}`).

Rules
- A name must be an input, the answer to a step that asks a person, or a property of a step such as
  its state. The step with the expression must need the named step, directly or indirectly.
  Otherwise the named step may not have run yet.
- The value of a condition must be true or false; a text, which is true in Python, is refused.
- A comparison that can never be true is a problem, because it would skip its step silently. An
  example is the comparison of an answer with a text that is not an option of the question.
- The value of an argument's expression must have the type of the argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from standfast.playbook.actions.action import ArgumentSpec, ArgumentType
from standfast.playbook.expressions import Expression, Path, embedded, parse, texts_in
from standfast.playbook.model import InputType, Playbook, Step, StepKind
from standfast.playbook.parser.field_reader import Notes, close_to
from standfast.playbook.step_graph import all_needs
from standfast.records import Json, StepState

COUNTS = ("done", "failed", "unknown", "refused")
STATES = ("pending", *StepState)

_ROOTS = ("inputs", "answers", "steps")
_TEXT_TYPES = frozenset({InputType.TEXT, InputType.CHOICE, InputType.TIME})
_ACCEPTED_TYPES: Mapping[ArgumentType, frozenset[InputType]] = {
    ArgumentType.ACCOUNTS: frozenset({InputType.ACCOUNTS}),
    ArgumentType.NAMES: frozenset({InputType.ACCOUNTS}),
    ArgumentType.TIME: frozenset({InputType.TIME}),
    ArgumentType.MAPPING: frozenset(),
}
_SAMPLES: Mapping[InputType, Json] = {
    InputType.ACCOUNTS: ["a"],
    InputType.TEXT: "a",
    InputType.FLAG: True,
    InputType.NUMBER: 1,
    InputType.CHOICE: "a",
    InputType.TIME: "2026-01-01T00:00:00.000000Z",
}


def judge_condition(playbook: Playbook, step: Step, notes: Notes) -> None:
    """Note all problems of the step's `when`."""
    judge = _Judge(playbook=playbook, step=step, line=step.line_of("when"), notes=notes)
    try:
        condition = parse(step.when or "")
    except ValueError as error:
        judge.note(f"`when` of step `{step.name}`: {error}")
        return
    if not judge.check_names(condition) or not judge.check_booleans(condition):
        return
    judge.check_comparisons(condition)
    if condition.path() is None and not condition.is_boolean():
        hint = 'compare a value, for example `inputs.kind == "agent"`'
        judge.note(f"`when` of step `{step.name}` is neither true nor false", hint)


def judge_argument(
    playbook: Playbook, step: Step, key: str, spec: ArgumentSpec, notes: Notes
) -> bool:
    """Note all problems of an argument's expressions.

    Return whether there is no problem.
    """
    judge = _Judge(playbook=playbook, step=step, line=step.line_of(f"with.{key}"), notes=notes)
    value = step.arguments[key]
    is_valid = True
    for text in texts_in(value):
        try:
            found = embedded(text)
        except ValueError as error:
            judge.note(f"argument `{key}` of step `{step.name}`: {error}")
            is_valid = False
            continue
        if found is None:
            continue
        is_item = text is not value
        if not (
            judge.check_names(found)
            # A name alone may have any type here; only a condition must be true or false.
            and (found.path() is not None or judge.check_booleans(found))
            and judge.check_comparisons(found)
            and (
                (is_item and spec.type is ArgumentType.MAPPING)
                or judge.check_type(found, key, spec, is_item=is_item)
            )
        ):
            is_valid = False
    return is_valid


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """The checks of the expressions in one line of one step.

    A `check_` method notes each problem, and returns whether there is none.
    """

    playbook: Playbook
    step: Step
    line: int
    notes: Notes

    def note(self, message: str, hint: str = "") -> bool:
        """Note a problem; return False, which a check can return in turn."""
        self.notes.add(self.line, message, hint)
        return False

    def check_names(self, found: Expression) -> bool:
        invalid = [path for path in sorted(found.names()) if not self._check_name(path)]
        return not invalid

    def check_booleans(self, found: Expression) -> bool:
        invalid = [
            path for path in found.boolean_names() if self._type_of(path) is not InputType.FLAG
        ]
        for path in invalid:
            hint = 'compare it with a value, for example `… == "yes"`'
            self.note(f"`{'.'.join(path)}` is neither true nor false", hint)
        return not invalid

    def check_comparisons(self, found: Expression) -> bool:
        """Check that comparisons can be true, and that values can be compared."""
        is_valid = True
        for comparison in found.comparisons():
            if not self._can_be(comparison.path, comparison.value):
                options = self._options_of(comparison.path)
                hint = close_to(str(comparison.value), options) if options else ""
                shown = ".".join(comparison.path)
                is_valid = self.note(f"`{shown}` is never {comparison.value!r}", hint)
        return is_valid and self._check_samples(found)

    def check_type(self, found: Expression, key: str, spec: ArgumentSpec, *, is_item: bool) -> bool:
        path = found.path()
        # An item of a list is always a text.
        accepted = _TEXT_TYPES if is_item else _ACCEPTED_TYPES.get(spec.type, _TEXT_TYPES)
        if path is None or self._type_of(path) not in accepted:
            return self.note(
                f"`{found.text}` is not of type {spec.type}, which argument `{key}` needs"
            )
        if path[0] == "inputs" and spec.required and self._may_be_null(path):
            hint = (
                f"make `{path[1]}` required, give it a default, or let the step begin only "
                f"`when: inputs.{path[1]} != None`"
            )
            message = f"argument `{key}` is required, but input `{path[1]}` may be left out"
            return self.note(message, hint)
        return True

    def _check_name(self, path: Path) -> bool:
        shown = ".".join(path)
        if path[0] not in _ROOTS:
            return self.note(f"`{shown}` is not known", f"begin with {', '.join(_ROOTS)}")
        if path[0] == "inputs":
            names = {given.name for given in self.playbook.inputs}
            if len(path) != 2 or path[1] not in names:
                return self.note(f"`{shown}` is not an input", close_to(".".join(path[1:]), names))
            return True
        return self._check_step_name(path, shown, is_answer=path[0] == "answers")

    def _check_step_name(self, path: Path, shown: str, *, is_answer: bool) -> bool:
        asking = (StepKind.MANUAL, StepKind.DECIDE)
        names = {s.name for s in self.playbook.steps if not is_answer or s.kind in asking}
        other = path[1] if len(path) > 1 else ""
        if other not in names:
            asker = "a step that asks a person" if is_answer else "a step"
            return self.note(f"`{shown}` does not name {asker}", close_to(other, names))
        if is_answer and len(path) != 2:
            return self.note(f"`{shown}`: an answer is a text and has no parts")
        facts = ("state", *COUNTS)
        if not is_answer and (len(path) != 3 or path[2] not in facts):
            return self.note(
                f"`{shown}` is not a fact of a step", close_to("".join(path[2:]), facts)
            )
        if other not in all_needs(self.playbook)[self.step.name]:
            message = f"step `{self.step.name}` uses `{shown}`, but does not wait for `{other}`"
            return self.note(message, f"add `{other}` to its `needs`")
        return True

    def _type_of(self, path: Path) -> InputType:
        """Return the type of a valid name."""
        if path[0] == "inputs":
            return self.playbook.input(path[1]).type
        if path[0] == "steps" and path[2] != "state":
            return InputType.NUMBER
        return InputType.TEXT

    def _options_of(self, path: Path) -> tuple[str, ...]:
        """Return the values of a valid name if they are a fixed list."""
        match path:
            case ("inputs", name):
                return self.playbook.input(name).options
            case ("answers", name):
                return self.playbook.step(name).options
            case ("steps", _, "state"):
                return STATES
        return ()

    def _can_be(self, path: Path, value: Json) -> bool:
        if value is None:
            return True  # an omitted input and the answer to a skipped question are null
        if options := self._options_of(path):
            return value in options
        match self._type_of(path):
            case InputType.FLAG:
                return isinstance(value, bool)
            case InputType.NUMBER:
                return isinstance(value, int) and not isinstance(value, bool)
            case InputType.ACCOUNTS:
                return False
        return isinstance(value, str)

    def _may_be_null(self, path: Path) -> bool:
        """Return whether the input may be null when the step begins."""
        if not self._may_be_left_out(path[1]):
            return False
        try:
            return not (self.step.when and parse(self.step.when).rules_out_null(path))
        except ValueError:
            return False  # `judge_condition` reports the invalid condition

    def _may_be_left_out(self, name: str) -> bool:
        given = self.playbook.input(name)
        return not given.required and given.default is None

    def _check_samples(self, found: Expression) -> bool:
        """Evaluate every comparison with sample values.

        Each comparison is evaluated twice: with all values, and without the optional values.
        """
        steps = self.playbook.steps
        facts = {step.name: {"state": "done"} | dict.fromkeys(COUNTS, 1) for step in steps}
        for is_given in (True, False):
            inputs = {
                given.name: None
                if not is_given and self._may_be_left_out(given.name)
                else _SAMPLES[given.type]
                for given in self.playbook.inputs
            }
            answers = {s.name: "a" if is_given or s.when is None else None for s in steps}
            try:
                found.try_comparisons({"inputs": inputs, "answers": answers, "steps": facts})
            except ValueError as error:
                hint = "" if is_given else "a value in it may be missing or skipped"
                return self.note(f"`{found.text}`: {error}", hint)
        return True
