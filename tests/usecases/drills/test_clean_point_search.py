from hypothesis import given
from hypothesis import strategies as st

from standfast.usecases.drills.clean_point_search import CleanPoint, newest_clean


@given(st.integers(0, 365), st.data())
def test_clean_point_is_found_with_few_looks(count: int, data: st.DataObject) -> None:
    dirty = data.draw(st.integers(0, count))  # how many of the newest points are dirty
    looks: set[int] = set()

    def is_clean(position: int) -> bool:
        looks.add(position)
        return position >= dirty

    found = CleanPoint(points=count)
    position = newest_clean(count, is_clean, found)
    assert position == (dirty if dirty < count else None)
    assert found.is_monotone
    assert len(looks) <= 10


@given(st.lists(st.booleans(), max_size=60))
def test_intermittent_finding_gives_a_clean_point(
    clean: list[bool],
) -> None:
    found = CleanPoint(points=len(clean))
    position = newest_clean(len(clean), clean.__getitem__, found)
    if position is not None:
        assert clean[position]
        assert position == len(clean) - 1 or clean[position + 1]
