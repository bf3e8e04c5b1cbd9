"""Dates in notices: each language writes them in its own way."""

from datetime import date

import pytest

from standfast.errors import TemplateInvalid
from standfast.notices.localized_dates import in_language, is_unclear, long_date
from standfast.notices.template_renderer import Template, load, prepare


@pytest.mark.parametrize(
    ("language", "first", "moment"),
    [
        ("en", "1 March 2025", "1 March 2025, 22:10 UTC"),
        ("en-GB", "1 March 2025", "1 March 2025, 22:10 UTC"),
        ("es", "1 de marzo de 2025", "1 de marzo de 2025, 22:10 UTC"),
        ("fr", "1er mars 2025", "1er mars 2025, 22:10 UTC"),
        ("de", "1. März 2025", "1. März 2025, 22:10 UTC"),
        ("pl", "1 marca 2025", "1 marca 2025, 22:10 UTC"),
        ("tlh", "2025-03-01", "2025-03-01, 22:10 UTC"),
    ],
)
def test_dates_follow_the_language(language: str, first: str, moment: str) -> None:
    assert long_date(date(2025, 3, 1), language) == first
    assert in_language("2025-03-01", language) == first
    assert in_language("2025-03-01 22:10 UTC", language) == moment
    assert in_language("2025-03-01T22:10:05Z", language) == moment


@pytest.mark.parametrize(
    "words",
    ["", "early in March", "2025-02-30", "2025-03-01 to 2025-03-04", "2025-014", "2025-03-01 UTC"],
)
def test_text_that_is_no_date_stays(words: str) -> None:
    assert in_language(words, "de") == words


@pytest.mark.parametrize(
    "figures",
    ["2025-02-30", "2025-13-01", "2025-03-01 25:61", "03/04/2025", "4.3.2025", "2025-014"],
)
def test_ambiguous_date_is_refused(figures: str) -> None:
    assert is_unclear(figures)
    with pytest.raises(TemplateInvalid, match="2025-03-04"):
        prepare(dated(), {"on": figures})


@pytest.mark.parametrize(
    "told", ["2025-03-01", "2025-03-01 22:10 UTC", "2025-03-01T22:10:05.123Z", "2025", "", "May 3"]
)
def test_unambiguous_date_is_accepted(told: str) -> None:
    assert not is_unclear(told)


def test_a_notice_writes_its_dates_in_each_language() -> None:
    made = prepare(dated(), {"on": "2025-05-09"})
    assert {language: parts.text[0].text for language, parts in made.languages.items()} == {
        "en": "9 May 2025",
        "de": "9. Mai 2025",
    }
    assert "<p>9. Mai 2025</p>" in made.languages["de"].html[0].text
    worded = prepare(dated(), {"on": {"en": "in spring", "de": "2025-05-09"}})
    assert worded.languages["en"].subject[0].text == "in spring"
    assert worded.languages["de"].subject[0].text == "9. Mai 2025"


def dated() -> Template:
    return load(
        {
            "context.toml": 'description = "d"\n[variables.on]\ntype = "date"\n'
            'description = "d"\nexample = "2025-03-04"\n',
            **{
                f"{language}/{part}": "{{ on }}"
                for language in ("en", "de")
                for part in ("subject.txt", "body.txt")
            },
        },
        "dated",
    )
