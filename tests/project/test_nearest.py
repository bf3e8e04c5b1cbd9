"""Hints for unknown names."""

from standfast.suggestions import known_names_hint


def test_unknown_name_lists_known_and_nearest_names() -> None:
    assert (
        known_names_hint("mian", ["second", "main"])
        == "the known names are: main, second; did you mean 'main'?"
    )
    assert known_names_hint("zzz", ["main"]) == "the known names are: main"
    assert known_names_hint("us-ca", ["US-CA", "US-WA"]).endswith("; did you mean 'US-CA'?")
    assert known_names_hint("main", []) == "there are none"


def test_end_of_a_name_finds_it() -> None:
    known = ["inc-2026-0001", "inc-2026-0002"]
    assert known_names_hint("0002", known).endswith("; did you mean 'inc-2026-0002'?")
    assert "did you mean" not in known_names_hint("", known)


def test_common_prefix_counts_more_than_similarity() -> None:
    known = ["eu-gdpr-33-authority", "eu-gdpr-34-individuals", "uk-gdpr-33-ico"]
    assert known_names_hint("eu-gdpr-33", known).endswith("; did you mean 'eu-gdpr-33-authority'?")


def test_long_list_of_names_is_shortened() -> None:
    told = known_names_hint(
        "inc-2026-0999x", [f"inc-2026-{number:04}" for number in range(1, 1001)]
    )
    assert "and 970 more" in told
    assert told.endswith("did you mean 'inc-2026-0999'?")
