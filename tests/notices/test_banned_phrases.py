"""Banned phrases in notices."""

import re

import pytest

from standfast.notices.banned_phrases import (
    find_banned_phrases,
    find_banned_uses,
    find_banned_values,
    rules,
)
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import Template, load
from standfast.records import JsonObject
from tests.notices.test_template_renderer import SPEC, files_of, loaded

TEMPLATES = read_templates()
LANGUAGES = {"en", "es", "fr", "de"}


def names(text: str, language: str) -> list[str]:
    return [rule.name for _, rule in find_banned_phrases(text, language)]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_no_shipped_notice_says_what_it_should_not(template: Template) -> None:
    assert find_banned_uses(template) == []


def test_every_rule_has_reason_and_languages() -> None:
    assert len(rules()) >= 10
    for rule in rules():
        assert len(rule.why) > 20
        assert rule.finders.keys() in (LANGUAGES, {""})


@pytest.mark.parametrize(
    ("language", "text", "rule"),
    [
        ("en", "Please CLICK\n  here.", "asks for a click"),
        ("en", "See https://example.test/x", "contains a web address"),
        ("en", "Go to login.example.com now", "contains a web address"),
        ("en", "We take your security\nseriously", "praises ourselves"),
        ("en", "Out of an abundance of caution", "hides behind caution"),
        ("en", "We have no evidence that it was read", "presents ignorance as knowledge"),
        ("en", "Verify your password", "asks for what must stay secret"),
        ("en", "Urgent action required!", "creates haste"),
        ("es", "Haga clic", "asks for a click"),
        ("es", "Nos tomamos muy en serio", "praises ourselves"),
        ("fr", "Rien n’indique un abus", "presents ignorance as knowledge"),
        ("fr", "rien n'indique un abus", "presents ignorance as knowledge"),
        ("de", "Wir nehmen das sehr ernst.", "praises ourselves"),
        ("de-AT", "Klicken Sie auf", "asks for a click"),
        ("pt", "www.example.test", "contains a web address"),
    ],
)
def test_what_false_messages_say_is_found(language: str, text: str, rule: str) -> None:
    assert names(text, language) == [rule]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "This message has no link to click, on purpose."),
        ("en", "Write to privacy@example.com."),
        ("en", "clickhere"),
        ("es", "click here"),
        ("de", "Anbeißen"),
    ],
)
def test_what_only_looks_like_it_is_left_alone(language: str, text: str) -> None:
    assert names(text, language) == []


@pytest.mark.parametrize(
    ("files", "file"),
    [
        (files_of(subject="Act now in {{ city }}\n"), "en/subject.txt"),
        (files_of(text="{% if is_final %}x{% else %}act now{% endif %}"), "en/body.txt"),
        (files_of(text="# Act\n{% if is_final %}\nnow{% endif %}"), "en/body.txt"),
        (files_of(SPEC.replace('en = "your name"', 'en = "act now"')), "context.toml"),
        (files_of(SPEC.replace('en = "customer"', 'en = "act now"')), "context.toml"),
    ],
)
def test_a_phrase_is_found_wherever_it_stands(files: dict[str, str], file: str) -> None:
    (said,) = find_banned_uses(load(files, "small"))
    assert (said.file, said.language, said.rule) == (file, "en", "creates haste")
    assert re.sub(r"\s+", " ", said.words.lower()) == "act now"
    assert find_banned_uses(loaded()) == []


def test_banned_values_warn_in_their_language() -> None:
    context: JsonObject = {
        "story": {"en": "Klicken Sie hier.", "de": "Klicken Sie hier."},
        "things": ["your name", "our top priority"],
        "city": "www.example.test",
        "count": 3,
        "is_final": True,
    }
    warnings = find_banned_values(context, ["en", "de"])
    assert [one.split(":")[0] for one in warnings] == [
        "'city' says 'www.example.test', which contains a web address",
        "'story' says 'Klicken Sie', which asks for a click",
    ]
    assert find_banned_values({"things": ["it is our top priority"]}, ["en"]) != []
