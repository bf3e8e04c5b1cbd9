"""Comparison of notices with the phrases in `banned_phrases.toml`.

A notice is a message to the people that an incident concerns. Some phrases are typical of phishing
mails, others hide what happened. The phrases and their reasons are data in `banned_phrases.toml`;
this module compares notices with them. Templates that an organisation wrote must comply too.

Rules
- The source of a template is checked, not the result of one incident. Thus both branches of every
  `if`, every label, and the text that replaces a missing value of a recipient are checked.
- A phrase is found across line breaks and Jinja tags, in upper or lower case, with either kind of
  apostrophe.
- A language without phrases of its own is still checked for the patterns of all languages.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from standfast.notices.template_context import SPEC_FILE
from standfast.notices.template_renderer import Template
from standfast.records import Json, JsonObject

_FILE = Path(__file__).with_name("banned_phrases.toml")
_TAGS = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with its reason, and a regular expression for each language.

    The language "" has the expression for all languages.
    """

    name: str
    why: str
    finders: dict[str, re.Pattern[str]]


@dataclass(frozen=True, kw_only=True)
class BannedUse:
    """One banned phrase in a text."""

    file: str
    language: str
    words: str
    rule: str
    why: str


@cache
def rules() -> tuple[Rule, ...]:
    """Return the shipped rules in the order of the file."""
    return tuple(map(_rule, tomllib.loads(_FILE.read_text(encoding="utf-8"))["rule"]))


def find_banned_phrases(text: str, language: str) -> Iterator[tuple[str, Rule]]:
    """Return each banned phrase in a text, with its rule."""
    text = " ".join(text.replace("’", "'").split())
    for rule in rules():
        for spoken in ("", language.partition("-")[0]):
            if finder := rule.finders.get(spoken):
                yield from ((found[0], rule) for found in finder.finditer(text))


def find_banned_uses(template: Template) -> list[BannedUse]:
    """Return every banned phrase of a template, language by language."""
    found: dict[BannedUse, None] = {}
    for language, parts in sorted(template.languages.items()):
        texts = [
            (f"{language}/{file}", _TAGS.sub(" ", source))
            for file, source in parts.by_file().items()
        ]
        texts += [(SPEC_FILE, words) for words in template.words_in(language)]
        for file, text in texts:
            for words, rule in find_banned_phrases(text, language):
                phrase = BannedUse(
                    file=file, language=language, words=words, rule=rule.name, why=rule.why
                )
                found[phrase] = None
    return [*found]


def find_banned_values(context: JsonObject, languages: Iterable[str]) -> list[str]:
    """Return warnings for banned phrases in an incident's values.

    A value that all languages share is checked by the rules of each language.
    """
    languages = sorted(languages)
    found: dict[str, None] = {}
    for name, value in sorted(context.items()):
        for language, text in _prose(value, languages):
            for words, rule in find_banned_phrases(text, language):
                found[f"{name!r} says {words!r}, which {rule.name}: {rule.why}"] = None
    return [*found]


def _prose(value: Json, languages: Iterable[str]) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from ((language, value) for language in languages)
    elif isinstance(value, Mapping):
        yield from ((language, str(text)) for language, text in value.items())
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _prose(entry, languages)


def _rule(written: dict[str, str | list[str]]) -> Rule:
    finders: dict[str, re.Pattern[str]] = {}
    for key, value in written.items():
        if isinstance(value, str):
            continue
        if key == "patterns":
            finders[""] = re.compile("|".join(value), re.IGNORECASE)
        else:
            phrases = "|".join(re.escape(phrase) for phrase in value)
            finders[key] = re.compile(rf"(?<!\w)(?:{phrases})(?!\w)", re.IGNORECASE)
    return Rule(name=str(written["name"]), why=str(written["why"]), finders=finders)
