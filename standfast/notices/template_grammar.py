"""Part of Jinja that templates may use, and the check of their sources.

A template has the texts of a notice (a message to the people that an incident concerns). This check
is the first barrier against a harmful template. The sandbox of `template_renderer` is the second.

Rules
- Allowed are values, `if`, comparisons, six filters, and one level of `for` over a variable of type
  list. The number of nodes (texts, values, filters) inside loops is limited. Thus the time of
  rendering is limited by the length of the template and of its lists, and needs no timeout.
- Calls, attributes, arithmetic, macros and includes are refused. Therefore a template cannot run
  code, read a file, or grow a string without limit.
- A slot (the place of a recipient's value) is written without a filter, as `{{ recipient.name }}`.
  It is filled after rendering, so no filter, condition or loop can use its value.
- `join` accepts only a variable of type list and a short fixed text. Nested joins could grow a
  string without limit before its size is checked.
- Every name must be declared in `context.toml`. Thus a missing name is detected when the template
  is loaded, and not during an incident.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jinja2 import TemplateSyntaxError, nodes
from jinja2.runtime import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from standfast.errors import Problem
from standfast.notices.html_body import mark_value
from standfast.notices.template_context import Spec
from standfast.suggestions import nearest_name

LARGEST_SOURCE = 65_536  # characters of one part
LONGEST_JOINT = 20  # characters that `join` puts between the items of a list
MOST_IN_LOOPS = 300  # texts, values, filters and comparisons inside the loops of one part
FILTERS = frozenset({"capitalize", "join", "length", "lower", "trim", "upper"})
TESTS = frozenset({"true", "false"})
LOOP_FACTS = frozenset({"first", "last", "index"})

_PLAIN_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_NAMES: frozenset[str] = frozenset()


def environment() -> ImmutableSandboxedEnvironment:
    """Return the sandbox that parses and renders, and marks each value."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        finalize=mark_value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        cache_size=0,
    )
    made.globals.clear()
    made.filters = {name: made.filters[name] for name in FILTERS}
    made.tests = {name: made.tests[name] for name in TESTS}
    return made


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The names that one part of a template uses, and its problems."""

    variables: frozenset[str] = _NO_NAMES
    slots: frozenset[str] = _NO_NAMES
    problems: tuple[Problem, ...] = ()


def read(source: str, file: str, spec: Spec, *, is_subject: bool = False) -> Reading:
    """Check one part against the grammar and the declared names; never raise."""
    if len(source) > LARGEST_SOURCE or (not source.isascii() and _SURROGATE.search(source)):
        message = f"longer than {LARGEST_SOURCE} characters, or not UTF-8"
        return Reading(problems=(Problem(file=file, line=0, message=message),))
    try:
        tree = environment().parse(source, filename=file)
        walk = _Walk(file=file, spec=spec, is_subject=is_subject)
        walk.visit(tree, {})
    except TemplateSyntaxError as error:
        message = error.message or "not valid Jinja"
        return Reading(problems=(Problem(file=file, line=error.lineno, message=message),))
    except (RecursionError, ValueError):  # thousands of nested parts, or of digits in one number
        message = "too many nested parts, or a number with too many digits"
        return Reading(problems=(Problem(file=file, line=0, message=message),))
    return Reading(
        variables=frozenset(walk.variables),
        slots=frozenset(walk.slots),
        problems=tuple(sorted(walk.problems, key=lambda problem: problem.line)),
    )


@dataclass(kw_only=True)
class _Walk:
    file: str
    spec: Spec
    is_subject: bool
    variables: set[str] = field(default_factory=set)
    slots: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    in_loops: int = 0

    def visit(self, node: nodes.Node, local: Mapping[str, int]) -> None:
        """Check a node and its children; `local` contains the loop's names."""
        if local:
            self.in_loops += 1
            if self.in_loops == MOST_IN_LOOPS + 1:
                hint = f"at most {MOST_IN_LOOPS} texts, values, filters and comparisons"
                self._say(node, "the loops of this part contain too many values", hint)
        match node:
            case nodes.Output():
                for part in node.nodes:
                    if (slot := _slot_name(part)) is not None:
                        self._use_slot(slot, part.lineno)
                    else:
                        self.visit(part, local)
            case nodes.Name():
                self._use_name(node, local)
            case nodes.Getattr():
                self._use_attribute(node, local)
            case nodes.For():
                self._loop(node, local)
            case nodes.Filter(name=name):
                if name not in FILTERS:
                    self._say(node, f"the filter {name!r} is not allowed", _choices(name, FILTERS))
                if name == "join" and not self._is_bounded_join(node, local):
                    hint = (
                        f"write {{{{ things | join(', ') }}}}, at most {LONGEST_JOINT} characters"
                    )
                    self._say(node, "'join' takes one variable of type list and a short text", hint)
                self._visit_all(node.iter_child_nodes(), local)
            case nodes.Test(name=name):
                if name not in TESTS:
                    self._say(node, f"the test {name!r} is not allowed", _choices(name, TESTS))
                self._visit_all(node.iter_child_nodes(), local)
            case _ if isinstance(node, _PLAIN_NODES):
                self._visit_all(node.iter_child_nodes(), local)
            case _:
                word = type(node).__name__.lower()
                self._say(node, f"{word!r} is not allowed", "a notice has values, if and for")

    def _visit_all(self, children: Iterator[nodes.Node], local: Mapping[str, int]) -> None:
        for child in children:
            self.visit(child, local)

    def _use_slot(self, name: str, line: int) -> None:
        self.slots.add(name)
        if name not in self.spec.slots:
            hint = _choices(name, self.spec.slots) or "declare it under [slots] in context.toml"
            message = f"recipient.{name} is not declared"
            self.problems.append(Problem(file=self.file, line=line, message=message, hint=hint))

    def _use_name(self, node: nodes.Name, local: Mapping[str, int]) -> None:
        name = node.name
        if name in local:
            return
        if name == "recipient":
            self._say(
                node, "a slot must stand alone", "write {{ recipient.name }}, no filter or if"
            )
        elif (variable := self.spec.variables.get(name)) is None:
            hint = _choices(name, self.spec.variables)
            hint = hint or "declare it under [variables] in context.toml"
            self._say(node, f"{name!r} is not declared", hint)
        elif self.is_subject and variable.type == "lines":
            self._say(node, f"{name!r} may have several lines; a subject has one")
        else:
            self.variables.add(name)

    def _use_attribute(self, node: nodes.Getattr, local: Mapping[str, int]) -> None:
        match node.node:
            case nodes.Name(name="loop") if "loop" in local:
                if node.attr not in LOOP_FACTS:
                    self._say(
                        node, f"loop.{node.attr} is not allowed", _choices(node.attr, LOOP_FACTS)
                    )
            case nodes.Name(name="recipient"):
                self._say(
                    node, "a slot must stand alone", "write {{ recipient.name }}, no filter or if"
                )
            case _:
                self._say(node, f"the attribute {node.attr!r} is not allowed")

    def _is_list(self, node: nodes.Node | None, local: Mapping[str, int]) -> bool:
        return (
            isinstance(node, nodes.Name)
            and node.name not in local
            and (variable := self.spec.variables.get(node.name)) is not None
            and variable.type == "list"
        )

    def _is_bounded_join(self, node: nodes.Filter, local: Mapping[str, int]) -> bool:
        if node.kwargs or node.dyn_args or node.dyn_kwargs or len(node.args) > 1:
            return False
        if not self._is_list(node.node, local):
            return False
        joint = node.args[0] if node.args else nodes.Const("")
        return (
            isinstance(joint, nodes.Const)
            and isinstance(joint.value, str)
            and len(joint.value) <= LONGEST_JOINT
        )

    def _loop(self, node: nodes.For, local: Mapping[str, int]) -> None:
        iterated = node.iter
        if (
            not self._is_list(iterated, local)
            or local
            or node.recursive
            or not isinstance(node.target, nodes.Name)
        ):
            self._say(node, "a loop goes over one variable of type list", "no loop within a loop")
            return
        self.visit(iterated, local)
        within = {str(node.target.name): node.lineno, "loop": node.lineno}
        self._visit_all(iter([*node.body, *([node.test] if node.test else [])]), within)
        self._visit_all(iter(node.else_), local)

    def _say(self, node: nodes.Node, message: str, hint: str = "") -> None:
        line = node.lineno or 0  # nodes that Jinja creates itself have no line
        self.problems.append(Problem(file=self.file, line=line, message=message, hint=hint))


def _slot_name(node: nodes.Node) -> str | None:
    match node:
        case nodes.Getattr(node=nodes.Name(name="recipient"), attr=attr):
            return str(attr)
    return None


def _choices(wrong: str, right: Mapping[str, object] | frozenset[str]) -> str:
    if near := nearest_name(wrong, right):
        return f"did you mean {near!r}?"
    return f"there is {', '.join(sorted(right))}" if right else ""
