"""What a notice does not say, and why: phrases that false messages use, and phrases that hide.

Owns the comparing. The phrases and their reasons are data, in `banned_phrases.toml`; a place's own
templates are held to the same ones.

Rules
- What is written is looked through, not what one incident makes of it: both sides of every `if`,
  every label, and what stands where a recipient has no value.
- A phrase is found across line breaks and tags, in any case, and with either kind of apostrophe.
- A language without phrases of its own is still held to the patterns.
"""

import html
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from standfast.notices.template_context import SPEC_FILE
from standfast.notices.template_renderer import PART_FILES, Template
from standfast.records import Json, JsonObject

_FILE = Path(__file__).with_name("banned_phrases.toml")
_TAGS = re.compile(r"\{[{%#].*?[}%#]\}|<[^>]*>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Why some words are not said, and what finds them: one expression a language, `""` for all."""

    name: str
    why: str
    finders: dict[str, re.Pattern[str]]


@dataclass(frozen=True, kw_only=True)
class Said:
    """One phrase that stands where it should not."""

    file: str
    language: str
    words: str
    rule: str
    why: str


@cache
def rules() -> tuple[Rule, ...]:
    """Read the shipped rules, in their order."""
    return tuple(map(_rule, tomllib.loads(_FILE.read_text(encoding="utf-8"))["rule"]))


def find_banned_phrases(text: str, language: str) -> Iterator[tuple[str, Rule]]:
    """Give each banned phrase in a text, with the rule that has it."""
    text = " ".join(text.replace("’", "'").split())
    for rule in rules():
        for spoken in ("", language.partition("-")[0]):
            if finder := rule.finders.get(spoken):
                yield from ((found[0], rule) for found in finder.finditer(text))


def banned(template: Template) -> list[Said]:
    """Give everything that a template says and should not, language by language."""
    found: dict[Said, None] = {}
    for language, parts in sorted(template.languages.items()):
        texts = [
            (f"{language}/{file}", html.unescape(_TAGS.sub(" ", source)))
            for file, source in zip(
                PART_FILES, (parts.subject, parts.text, parts.html), strict=True
            )
        ]
        texts += [(SPEC_FILE, words) for words in template.words_in(language)]
        for file, text in texts:
            for words, rule in find_banned_phrases(text, language):
                one = Said(file=file, language=language, words=words, rule=rule.name, why=rule.why)
                found[one] = None
    return [*found]


def find_banned_values(context: JsonObject, languages: Iterable[str]) -> list[str]:
    """Warn of each banned phrase in an incident's values; what all will read, by each language."""
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
