"""`dataclass`, of which a method is compiled when it is first needed, and not as it is declared.

Python compiles up to six functions for a dataclass as its module is imported, 0.4 ms for a frozen
one: a third of what a short command takes to start, for classes of which it then uses a few.  Here
a class is declared with all its fields, and behaves the same from its first use on.

- The first instances of a class do without a compiled `__init__`: most classes never have more.
- For type checkers it is the standard library's own.
- What inherits from another dataclass, or has an order, is declared as always.
"""

import dataclasses
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

_FEW = 50  # instances; to compile takes as long as to do without a hundred times

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, **options):
        """Declare a dataclass; options as for `dataclasses.dataclass`."""
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        inherits = any(map(dataclasses.is_dataclass, cls.__mro__[1:]))
        if inherits or not options.keys() <= {"frozen", "kw_only", "slots", "eq"}:
            return dataclasses.dataclass(cls, **options)
        return _declared(cls, **options)


def _declared(
    cls: Any, *, frozen: bool = False, eq: bool = True, kw_only: bool = False, slots: bool = False
) -> Any:
    own = {"__hash__"} if cls.__hash__ is not object.__hash__ else set()
    own |= vars(cls).keys()
    if cls.__doc__ is None:
        cls.__doc__ = cls.__name__  # or its signature would be made, which takes half of all
    without_methods = dataclasses.dataclass(
        init=False, repr=False, eq=False, kw_only=kw_only, slots=slots
    )
    made: Any = without_methods(cls)
    parameters = made.__dataclass_params__
    parameters.init = parameters.repr = True
    parameters.eq, parameters.frozen = eq, frozen
    methods = {"__init__", "__repr__"}
    if eq:
        methods |= {"__eq__", "__hash__"} if frozen else {"__eq__"}
    for name in methods - own:
        setattr(made, name, _first_call(made, name, frozen))
    if "__init__" not in own:
        made.__init__ = _first_instances(made, made.__init__, frozen)
    if eq and not frozen and "__hash__" not in own:
        made.__hash__ = None
    if frozen:
        _freeze(made)
        if slots:  # whose instances could not be pickled otherwise
            made.__getstate__, made.__setstate__ = _state, _set_state
    return made


def _first_call(made: Any, name: str, frozen: bool) -> Any:
    """A method that puts the compiled one in its place, and calls that."""

    def method(self: Any, *these: Any, **named: Any) -> Any:
        is_of_equality = name in ("__eq__", "__hash__")
        # A class for this alone, with the same fields and the same that comes after.
        inner = {"__doc__": made.__doc__}
        if hasattr(made, "__post_init__"):
            inner["__post_init__"] = made.__post_init__
        complete = dataclasses.make_dataclass(
            made.__name__,
            [(one.name, one.type, _again(one)) for one in dataclasses.fields(made)],
            namespace=inner,
            init=name == "__init__",
            repr=name == "__repr__",
            eq=is_of_equality,
            frozen=frozen,
        )
        compiled = vars(complete)[name]
        compiled.__qualname__, compiled.__module__ = f"{made.__qualname__}.{name}", made.__module__
        setattr(made, name, compiled)
        return compiled(self, *these, **named)

    return method


def _first_instances(made: Any, compiled: Any, frozen: bool) -> Any:
    """An `__init__` that puts the values of some instances one by one, and compiles then.

    A call that does not fit is the compiled one's, too, so that it fails as always.
    """
    put = object.__setattr__ if frozen else setattr
    left = _FEW
    fields: tuple[dataclasses.Field[Any], ...] = ()
    by_place: list[str] = []

    def method(self: Any, *these: Any, **named: Any) -> None:
        nonlocal left, fields, by_place
        if not fields:
            fields = dataclasses.fields(made)
            by_place = [one.name for one in fields if not one.kw_only]
        left -= 1
        given = dict(zip(by_place, these, strict=False), **named)
        fits = left >= 0 and len(given) == len(these) + len(named)
        values = [_taken(given, one) for one in fields] if fits else [MISSING]
        if given or any(value is MISSING for value in values):
            compiled(self, *these, **named)
            return
        for one, value in zip(fields, values, strict=True):
            put(self, one.name, value)
        if hasattr(made, "__post_init__"):
            self.__post_init__()

    return method


def _taken(given: dict[str, Any], one: "dataclasses.Field[Any]") -> Any:
    """A field's value, taken out of what was given, or its default; MISSING when it has none."""
    if not one.init:
        return MISSING
    if one.name in given:
        return given.pop(one.name)
    return one.default if one.default_factory is MISSING else one.default_factory()


def _again(one: "dataclasses.Field[Any]") -> Any:
    return dataclasses.field(
        default=one.default,
        default_factory=one.default_factory,
        init=one.init,
        repr=one.repr,
        hash=one.hash,
        compare=one.compare,
        kw_only=one.kw_only,
    )


def _freeze(made: Any) -> None:
    def refuse(self: object, name: str) -> None:
        if type(self) is made or name in made.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")

    def set_attribute(self: Any, name: str, value: object) -> None:
        refuse(self, name)
        super(made, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        refuse(self, name)
        super(made, self).__delattr__(name)

    made.__setattr__, made.__delattr__ = set_attribute, delete_attribute


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)
