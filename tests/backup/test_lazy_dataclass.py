"""Dataclasses whose methods are compiled at their first use behave as the library's own."""

import copy
import dataclasses
import pickle
from dataclasses import field
from typing import Any

import pytest

from backup import lazy_dataclass

KINDS = {
    "plain": {},
    "by keyword": {"kw_only": True},
    "with slots": {"kw_only": True, "slots": True},
    "frozen": {"frozen": True, "kw_only": True},
    "frozen, with slots": {"frozen": True, "kw_only": True, "slots": True},
    "compared by identity": {"slots": True, "eq": False},
    "in order": {"frozen": True, "order": True},
}


def declared(decorator: Any, options: dict[str, Any]) -> Any:
    class Point:
        """Where something lies."""

        x: int
        y: int = 2
        names: list[str] = field(default_factory=list, compare=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("left of everything")

    return decorator(Point, **options)


def outcome(act: Any) -> object:
    try:
        return act()
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("earlier", [0, 10, 100])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_each_use_of_a_class_has_the_outcome_that_it_has_with_the_librarys_own(
    options: dict[str, Any], earlier: int
) -> None:
    def uses(decorator: Any) -> list[object]:
        point = declared(decorator, options)
        for x in range(earlier):
            point(x=x)
        return [
            outcome(use)
            for use in (
                lambda: repr(point(x=1)),
                lambda: repr(point(1)),
                lambda: repr(point(1, 3, ["a"])),
                lambda: point(1, 3, ["a"], 4),
                lambda: point(1, x=1),
                lambda: point(),
                lambda: point(x=1) == point(x=1, names=["b"]),
                lambda: point(x=1) == point(x=3),
                lambda: point(x=1) != (1, 2),
                lambda: len({point(x=1), point(x=1)}),
                lambda: point(x=1) < point(x=2),
                lambda: point(x=-1),
                lambda: point(y=1),
                lambda: point(x=1, z=1),
                lambda: repr(dataclasses.replace(point(x=1), y=5)),
                lambda: dataclasses.asdict(point(x=1)),
                lambda: [one.name for one in dataclasses.fields(point)],
                lambda: point.__match_args__,
                lambda: setattr(point(x=1), "x", 2),
                lambda: delattr(point(x=1), "y"),
                lambda: copy.copy(point(x=1)).y,
                lambda: point(x=1).names is point(x=1).names,
                lambda: (point.__name__, point.__doc__, point.__module__),
            )
        ]

    assert uses(lazy_dataclass.dataclass) == uses(dataclasses.dataclass)


def test_a_field_that_only_the_class_itself_fills_is_no_parameter() -> None:
    @lazy_dataclass.dataclass(kw_only=True)
    class Marked:
        text: str
        mark: int = field(init=False)

        def __post_init__(self) -> None:
            self.mark = len(self.text)

    assert [Marked(text="abc").mark for _ in range(100)] == [3] * 100
    with pytest.raises(TypeError):
        Marked(text="abc", mark=3)  # type: ignore[call-arg]  # that is what is refused


@lazy_dataclass.dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    number: int


class Named(Kept):
    def __init__(self, number: int, name: str) -> None:
        super().__init__(number=number)
        self.name = name


def test_a_frozen_instance_with_slots_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept(number=7))) == Kept(number=7)


def test_a_class_that_inherits_has_attributes_of_its_own_and_leaves_the_fields_alone() -> None:
    named = Named(1, "one")
    assert (named.number, named.name) == (1, "one")
    with pytest.raises(dataclasses.FrozenInstanceError):
        named.number = 2  # type: ignore[misc]  # that is what is refused


def test_a_dataclass_may_inherit_from_one() -> None:
    @lazy_dataclass.dataclass(frozen=True, kw_only=True)
    class More(Kept):
        size: int = 3

    assert More(number=1) == More(number=1, size=3)
    assert repr(More(number=1)).endswith("More(number=1, size=3)")
