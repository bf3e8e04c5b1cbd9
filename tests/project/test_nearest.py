"""What is said to a name that is not known."""

from standfast.nearest import there_are


def test_a_name_that_is_not_known_is_answered_with_those_there_are_and_the_nearest() -> None:
    assert there_are("mian", ["second", "main"]) == "there are: main, second; did you mean 'main'?"
    assert there_are("zzz", ["main"]) == "there are: main"
    assert there_are("main", []) == "there are: none"


def test_a_thousand_names_are_not_all_listed_and_the_nearest_still_is() -> None:
    told = there_are("inc-2026-0999x", [f"inc-2026-{number:04}" for number in range(1, 1001)])
    assert "and 970 more" in told
    assert told.endswith("did you mean 'inc-2026-0999'?")
