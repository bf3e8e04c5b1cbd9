"""Expressions of `when` and `{{ … }}`: allowed grammar, evaluation.

    parse('inputs.kind == "agent"').evaluate({"inputs": {"kind": "agent"}})   # True

In a playbook, an expression is the condition of a step (`when`) or an argument of an action
(`{{ … }}`). `validation` checks whether its names exist, and `engine` supplies their values.

Rules
- An expression may contain text, whole numbers, True, False, None; names with `.part` or
  `["part"]`; comparisons and `in`; `and`, `or`, `not`. Calls, arithmetic, formats and lambdas are
  refused.
- A name is looked up only in mappings: no attribute of a Python object is read.
- `and`, `or` and `not` accept only true and false. In Python the answer "no" would be true, because
  it is a text that is not empty.
- `<` and `>` compare two whole numbers or two texts. `==` compares all values.
- A missing name is an error, not false.
- An expression has at most 500 characters and 100 parts. The time of an evaluation is linear in the
  number of parts.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from standfast.records import Json, JsonObject

LONGEST_TEXT = 500
MOST_NODES = 100
LARGEST_NUMBER = 2**53 - 1  # the largest number that `records.canonical` can encode

Path: TypeAlias = tuple[str, ...]

_LOWER_CASE = {"true": "True", "false": "False", "null": "None", "none": "None"}
_HINTS: Mapping[type[ast.AST], str] = {
    ast.Call: "functions cannot be called here",
    ast.BinOp: "there is no arithmetic here; compare the values themselves",
    ast.JoinedStr: "text is literal here; an expression cannot be put into it",
    ast.IfExp: "write two steps, each with its own `when`",
    ast.Lambda: "functions cannot be made here",
    ast.ListComp: "there are no loops here",
    ast.List: 'write `a == "x" or a == "y"` instead of a list',
    ast.Tuple: 'write `a == "x" or a == "y"` instead of a list',
    ast.Set: 'write `a == "x" or a == "y"` instead of a set',
    ast.Is: "write `==` instead of `is`",
    ast.IsNot: "write `!=` instead of `is not`",
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of a name with a fixed value by `==` or `!=`.

    `validation` can check it without the values of an incident.
    """

    path: Path
    value: Json


@dataclass(frozen=True)
class Expression:
    """A parsed expression; only `parse` makes one."""

    text: str
    _root: ast.expr = field(repr=False, compare=False)

    def names(self) -> frozenset[Path]:
        """Return the names in the expression, as `("steps", "lock", "done")`."""
        return frozenset(_paths(self._root))

    def path(self) -> Path | None:
        """Return the name, if the whole expression is one name."""
        return _path(self._root)

    def comparisons(self) -> list[Comparison]:
        """Return every comparison of a name with a value by `==` or `!=`."""
        return list(_equalities(self._root))

    def boolean_names(self) -> list[Path]:
        """Return the names that are used as conditions, without a comparison."""
        return [path for node in _boolean_nodes(self._root) if (path := _path(node))]

    def rules_out_null(self, path: Path) -> bool:
        """Return whether the expression is certainly false if the name is null.

        This applies to `name != None`, and to a conjunction (`and`) that contains it.
        """
        sides = self._root.values if isinstance(self._root, ast.BoolOp) else [self._root]
        is_all = not isinstance(self._root, ast.BoolOp) or isinstance(self._root.op, ast.And)
        return is_all and any(_is_not_null(side) == path for side in sides)

    def is_boolean(self) -> bool:
        """Return whether the value of the expression is always true or false."""
        return isinstance(self._root, ast.Compare | ast.BoolOp) or (
            isinstance(self._root, ast.UnaryOp)
            or (isinstance(self._root, ast.Constant) and isinstance(self._root.value, bool))
        )

    def try_comparisons(self, namespace: JsonObject) -> None:
        """Evaluate every comparison, even if `and` or `or` would skip it.

        `validation` tries sample values in this way. Raise ValueError if two values cannot be
        compared.
        """
        for node in ast.walk(self._root):
            if isinstance(node, ast.Compare):
                _evaluate(node, namespace)

    def evaluate(self, namespace: JsonObject) -> Json:
        """Return the value of the expression.

        Raise ValueError for a missing name or values that cannot be compared.
        """
        return _evaluate(self._root, namespace)


def parse(text: str) -> Expression:
    """Parse an expression.

    Raise ValueError that names the part that is not allowed and the allowed forms.
    """
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"an expression has at most {LONGEST_TEXT} characters")
    if "\\" in text:
        # Python would print a warning about an unknown escape.
        raise ValueError("a backslash is not allowed in an expression")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"this is not an expression{_error_position(error)}") from error
    for count, node in enumerate(ast.walk(tree), start=1):
        if count > MOST_NODES:
            raise ValueError(f"an expression has at most {MOST_NODES} parts; split the step")
        _refuse_unlisted_nodes(node)
    return Expression(text=text.strip(), _root=tree)


def embedded(value: Json) -> Expression | None:
    """Return the expression of a text that is exactly `{{ … }}`.

    Return None for a value without `{{`. Raise ValueError if the expression is not valid, or if
    `{{` is inside a longer text: it would not be replaced, and people would receive the braces.
    """
    if not isinstance(value, str) or "{{" not in value:
        return None
    inner = value.strip()
    if inner.startswith("{{") and inner.endswith("}}") and "{{" not in inner[2:]:
        return parse(inner[2:-2])
    raise ValueError("`{{ … }}` must be the whole value; it cannot stand inside a text")


def texts_in(value: Json) -> Iterator[str]:
    """Yield every text in a value; each may be an expression."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def _error_position(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.offset:
        return f" (near character {error.offset})"
    return ""


def _refuse_unlisted_nodes(node: ast.AST) -> None:
    match node:
        case ast.Name():
            if node.id in _LOWER_CASE:
                raise ValueError(f"write `{_LOWER_CASE[node.id]}` instead of `{node.id}`")
        case ast.Constant():
            _refuse_other_constants(node.value)
        case ast.Attribute() | ast.Subscript():
            if _path(node) is None:
                raise ValueError('only a name can have `.part` or `["part"]`')
        case ast.UnaryOp():
            if not isinstance(node.op, ast.Not):
                raise ValueError("there is no arithmetic here; compare the values themselves")
            _refuse_fixed_operand(node.operand)
        case ast.BoolOp():
            for side in node.values:
                _refuse_fixed_operand(side)
        case ast.Compare() | ast.Load() | ast.And() | ast.Or() | ast.Not():
            pass
        case ast.Eq() | ast.NotEq() | ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE():
            pass
        case ast.In() | ast.NotIn():
            pass
        case _:
            hint = _HINTS.get(type(node), "only names, comparisons, and/or/not and fixed values")
            raise ValueError(f"{type(node).__name__} is not allowed in an expression: {hint}")


def _refuse_fixed_operand(node: ast.expr) -> None:
    if isinstance(node, ast.Constant) and not isinstance(node.value, bool):
        raise ValueError("`and`, `or` and `not` take comparisons, not fixed values")


def _refuse_other_constants(value: object) -> None:
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise ValueError("a number this large is not allowed in an expression")
    if not isinstance(value, str | int | None):  # bool is an int
        raise ValueError(f"a value of type {type(value).__name__} is not allowed in an expression")


def _path(node: ast.AST) -> Path | None:
    parts: list[str] = []
    while True:
        match node:
            case ast.Name():
                return (node.id, *reversed(parts))
            case ast.Attribute():
                parts.append(node.attr)
            case ast.Subscript(slice=ast.Constant(value=str() as part)):
                parts.append(part)
            case _:
                return None
        node = node.value


def _paths(node: ast.AST) -> Iterator[Path]:
    path = _path(node)
    if path is not None:
        yield path
        return
    for child in ast.iter_child_nodes(node):
        yield from _paths(child)


def _equalities(root: ast.expr) -> Iterator[Comparison]:
    for node in ast.walk(root):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
            if not isinstance(op, ast.Eq | ast.NotEq):
                continue
            for side, other in ((left, right), (right, left)):
                path = _path(side)
                if path is not None and isinstance(other, ast.Constant):
                    yield Comparison(path=path, value=_fixed(other))


def _is_not_null(node: ast.expr) -> Path | None:
    """Return the name in a comparison `… != None`."""
    match node:
        case ast.Compare(left=left, ops=[ast.NotEq()], comparators=[ast.Constant(value=None)]):
            return _path(left)
    return None


def _boolean_nodes(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BoolOp():
            for side in node.values:
                yield from _boolean_nodes(side)
        case ast.UnaryOp():
            yield from _boolean_nodes(node.operand)
        case _:
            yield node


def _fixed(node: ast.Constant) -> Json:
    if isinstance(node.value, str | int | None):
        return node.value
    raise ValueError("this value is not allowed in an expression")


def _evaluate(node: ast.expr, namespace: JsonObject) -> Json:
    path = _path(node)
    if path is not None:
        return _look_up(path, namespace)
    match node:
        case ast.Constant():
            return _fixed(node)
        case ast.UnaryOp():
            return not _truth(node.operand, namespace)
        case ast.BoolOp(op=ast.And()):
            return all(_truth(side, namespace) for side in node.values)
        case ast.BoolOp():
            return any(_truth(side, namespace) for side in node.values)
        case ast.Compare():
            left = _evaluate(node.left, namespace)
            for op, side in zip(node.ops, node.comparators, strict=True):
                right = _evaluate(side, namespace)
                if not _compare(op, left, right):
                    return False
                left = right
            return True
    raise ValueError(f"{type(node).__name__} is not allowed in an expression")


def _truth(node: ast.expr, namespace: JsonObject) -> bool:
    value = _evaluate(node, namespace)
    if isinstance(value, bool):
        return value
    raise ValueError(f"`{ast.unparse(node)}` is neither true nor false; compare it with something")


def _look_up(path: Path, namespace: JsonObject) -> Json:
    value: Json = namespace
    for depth, part in enumerate(path):
        if not isinstance(value, Mapping) or part not in value:
            raise ValueError(f"`{'.'.join(path[: depth + 1])}` is not known here")
        value = value[part]
    return value


def _compare(op: ast.cmpop, left: Json, right: Json) -> bool:
    match op:
        case ast.Eq():
            return _is_same(left, right)
        case ast.NotEq():
            return not _is_same(left, right)
        case ast.In() | ast.NotIn():
            return _is_in(left, right) is isinstance(op, ast.In)
    if isinstance(left, str) and isinstance(right, str):
        return _is_ordered(op, (left > right) - (left < right))
    if isinstance(left, int) and isinstance(right, int) and not {bool} & {type(left), type(right)}:
        return _is_ordered(op, (left > right) - (left < right))
    raise ValueError("greater and less compare two whole numbers or two texts")


def _is_ordered(op: ast.cmpop, sign: int) -> bool:
    match op:
        case ast.Lt():
            return sign < 0
        case ast.LtE():
            return sign <= 0
        case ast.Gt():
            return sign > 0
        case _:
            return sign >= 0


def _is_same(left: Json, right: Json) -> bool:
    # In Python 1 == True; in a playbook a number never equals a flag.
    return isinstance(left, bool) is isinstance(right, bool) and left == right


def _is_in(left: Json, right: Json) -> bool:
    if isinstance(right, str) and isinstance(left, str):
        return left in right
    if isinstance(right, list | tuple):
        return any(_is_same(left, item) for item in right)
    raise ValueError("`in` looks for a text in a text, or for anything in a list")
