"""What is said to a name that is not known."""

from standfast.suggestions import known_names_hint


def test_a_name_that_is_not_known_is_answered_with_those_there_are_and_the_nearest() -> None:
    assert (
        known_names_hint("mian", ["second", "main"])
        == "there are: main, second; did you mean 'main'?"
    )
    assert known_names_hint("zzz", ["main"]) == "there are: main"
    assert known_names_hint("us-ca", ["US-CA", "US-WA"]).endswith("; did you mean 'US-CA'?")
    assert known_names_hint("main", []) == "there is none"


def test_the_end_of_a_name_is_enough_to_say_which_was_meant() -> None:
    known = ["inc-2026-0001", "inc-2026-0002"]
    assert known_names_hint("0002", known).endswith("; did you mean 'inc-2026-0002'?")
    assert "did you mean" not in known_names_hint("", known)


def test_what_begins_as_was_typed_is_nearer_than_what_only_looks_like_it() -> None:
    known = ["eu-gdpr-33-authority", "eu-gdpr-34-individuals", "uk-gdpr-33-ico"]
    assert known_names_hint("eu-gdpr-33", known).endswith("; did you mean 'eu-gdpr-33-authority'?")


def test_a_thousand_names_are_not_all_listed_and_the_nearest_still_is() -> None:
    told = known_names_hint(
        "inc-2026-0999x", [f"inc-2026-{number:04}" for number in range(1, 1001)]
    )
    assert "and 970 more" in told
    assert told.endswith("did you mean 'inc-2026-0999'?")
