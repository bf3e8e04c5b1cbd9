"""Template file `context.toml`: its variables, slots and labels.

A template is a folder with the texts of a notice (a message to the people that an incident
concerns) in each language. Its file `context.toml` declares the values that the texts use. This
module defines the form of that file and checks the values of an incident. `template_grammar` and
`template_renderer` handle the texts.

Rules
- A variable is the same for all recipients. A slot has a separate value for each recipient.
- Prose can be given for each language, as an object `{"en": "…", "es": "…"}`. Plain text is used
  unchanged in every language.
- `labels` translate the codes that an operator enters (`phone`) into words of each language. A
  value that is not a code is used as written.
- A list may also be written as one text with commas, as people type the input of a playbook.
- A list may name another list in `follows`. Without a value of its own, it then has those codes of
  the other list for which it has labels. For example, a list of advice follows the list of affected
  data, so that the advice fits the data.
- Every variable and slot has a description and an example, so that a preview needs nothing else.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.toml_writer import key_text
from standfast.config.validation import validate
from standfast.config.value_types import Language, Text, matching
from standfast.errors import Problem, TemplateInvalid
from standfast.notices.localized_dates import in_language as date_in_language
from standfast.notices.localized_dates import is_unclear
from standfast.notices.plain_text import is_one_line, is_some_lines
from standfast.records import Json, JsonObject
from standfast.suggestions import nearest_name_hint

LONGEST_TEXT = 1_000
LONGEST_LINES = 8_000
LONGEST_LIST = 200
RESERVED = frozenset({"recipient", "loop"})
SPEC_FILE = "context.toml"

Name = Annotated[
    str,
    matching(r"[a-z][a-z0-9_]{0,39}", "a name has lower-case letters, digits and _, 40 at most"),
]
Kind = Literal["text", "date", "lines", "list", "number", "flag"]


class Variable(Section):
    """One value of the incident, the same for every recipient.

    A variable without `default` is required. The types are:
    - `text`: one line.
    - `date`: a day (2025-03-04) or a moment (2025-03-04 09:30 UTC), shown in the form of each
      language; or free text.
    - `lines`: text that may have several lines, and therefore must not be in a subject.
    - `list`: entries of one line each.
    - `number`: a whole number.
    - `flag`: true or false.
    """

    type: Kind = Field()
    description: Text = Field()
    example: Any = Field()
    default: Any = Field(default=None)
    labels: Mapping[str, Mapping[Language, str]] = Field(default={})
    follows: Name | None = Field(default=None)

    @property
    def is_required(self) -> bool:
        return self.default is None

    def converted(self, value: Json) -> Json:
        """Return `value`; split a list that is written as one text."""
        if self.type == "list" and isinstance(value, str):
            return [entry for part in value.split(",") if (entry := part.strip())]
        return value

    def codes_of_followed_list(self, codes: Json) -> Json:
        """Return those codes of the followed list for which this list has labels."""
        entries = codes if isinstance(codes, list | tuple) else ()
        return [code for code in entries if code in self.labels]

    def problem_of(self, value: Json) -> str:
        """Return the reason why `value` is invalid, or ""."""
        if isinstance(value, Mapping):
            if self.type not in {"text", "date", "lines"} or not value:
                return f"must be {_WORDS[self.type]}"
            return next(filter(None, map(self.text_problem_of, value.values())), "")
        return self.text_problem_of(value)

    def text_problem_of(self, value: Json) -> str:
        """Return the reason why a value that is not by language is invalid, or ""."""
        fits: bool
        match self.type:
            case "flag":
                fits = isinstance(value, bool)
            case "number":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case "list":
                fits = (
                    isinstance(value, list | tuple)
                    and len(value) <= LONGEST_LIST
                    and all(isinstance(entry, str) and _is_short_line(entry) for entry in value)
                )
            case "text":
                fits = isinstance(value, str) and _is_short_line(value)
            case "date":
                fits = isinstance(value, str) and _is_short_line(value) and not is_unclear(value)
            case "lines":
                fits = (
                    isinstance(value, str) and len(value) <= LONGEST_LINES and is_some_lines(value)
                )
        return "" if fits else f"must be {_WORDS[self.type]}"

    def in_language(self, value: Json, language: str) -> Json:
        """Return a valid `value` in the form for readers of `language`."""
        if isinstance(value, Mapping):
            value = value.get(language) or value.get("en") or next(iter(value.values()))
        if isinstance(value, str):
            value = self._labelled(value, language)
            return date_in_language(value, language) if self.type == "date" else value
        if isinstance(value, list | tuple):
            entries = [self._labelled(str(entry), language) for entry in value]
            # Several codes of the followed list may have the same label here: show it once.
            return [*dict.fromkeys(entries)] if self.follows else [*entries]
        return value

    def is_translated(self, value: Json, language: str) -> bool:
        """Return whether a value can be shown in `language`.

        Return False for a value that is not given in the language, and for a text without a label.
        """
        if isinstance(value, Mapping):
            return language in value
        if isinstance(value, str) and (self.labels or self.type == "lines"):
            return not value or value in self.labels
        if self.labels and isinstance(value, list | tuple):
            return all(entry in self.labels for entry in value)
        return True

    def misspelt_codes(self, value: Json) -> list[str]:
        """Return entries that look like misspelt codes, such as `bank-detials`."""
        if not self.labels or isinstance(value, Mapping):
            return []
        if isinstance(value, str):
            is_word = len(value.split()) == 1
            return [value] if is_word and value not in self.labels else []
        entries = [str(entry) for entry in value] if isinstance(value, list | tuple) else []
        return [
            entry
            for entry in entries
            if entry not in self.labels and nearest_name_hint(entry, self.labels)
        ]

    def _labelled(self, text: str, language: str) -> str:
        words = self.labels.get(text)
        return text if words is None else words[language]


_WORDS: dict[Kind, str] = {
    "text": f"one line of at most {LONGEST_TEXT} characters, without controls",
    "date": "an existing day such as 2025-03-04, a moment such as 2025-03-04 09:30 UTC, or words",
    "lines": f"text of at most {LONGEST_LINES} characters, without controls but line ends",
    "list": f"a list of at most {LONGEST_LIST} lines of at most {LONGEST_TEXT} characters each",
    "number": "a whole number",
    "flag": "true or false",
}


def _is_short_line(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and is_one_line(text)


class Slot(Section):
    """One value that each recipient has, and the text if it is missing."""

    description: Text = Field()
    example: str = Field()
    when_empty: Mapping[Language, str] = Field(default={})


class Spec(Section):
    """The content of a `context.toml`."""

    description: Text = Field()
    variables: Mapping[Name, Variable] = Field(default={})
    slots: Mapping[Name, Slot] = Field(default={})

    @model_validator(mode="after")
    def check(self) -> Self:
        """Reject reserved names, and examples or defaults that are invalid."""
        for name, variable in self.variables.items():
            if name in RESERVED:
                raise ValueError(f"{name!r} is a reserved name; choose another")
            for value in (variable.example, variable.default):
                if value is not None and (why := variable.problem_of(value)):
                    raise ValueError(f"the example or default of {name!r} {why}")
            if (followed := variable.follows) is not None:
                other = self.variables.get(followed)
                if variable.type != "list" or other is None or other.type != "list":
                    raise ValueError(f"{name!r} and the variable that it follows must be lists")
                if other.follows is not None or variable.default is None:
                    raise ValueError(
                        f"{name!r} needs a default, and its list must not follow another one"
                    )
        return self

    def example_context(self) -> JsonObject:
        """Return a value for every variable, for previews."""
        return {name: variable.example for name, variable in self.variables.items()}

    def example_slots(self) -> Mapping[str, str]:
        """Return a value for every slot, for previews."""
        return {name: slot.example for name, slot in self.slots.items()}

    def untranslated(self, languages: frozenset[str]) -> list[str]:
        """Return each label and replacement text that lacks one of `languages`."""
        words = {
            f"variables.{name}.labels.{code}": labels
            for name, variable in self.variables.items()
            for code, labels in variable.labels.items()
        }
        words |= {
            f"slots.{name}.when_empty": slot.when_empty
            for name, slot in self.slots.items()
            if slot.when_empty
        }
        return [
            f"{place} lacks {', '.join(sorted(missing))}"
            for place, by_language in words.items()
            if (missing := languages - by_language.keys())
        ]


def read_spec(text: str, file: str) -> Spec:
    """Parse a `context.toml`; TemplateInvalid names every invalid key."""
    try:
        spec = validate(Spec, tomllib.loads(text), Path())
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else 0
        raise TemplateInvalid(
            str(Problem(file=file, line=line, message=f"not TOML: {error}"))
        ) from None
    if isinstance(spec, Spec):
        return spec
    problems = [
        Problem(
            file=file,
            line=0,
            message=f"{key_text(finding.key) or 'the file'}: {finding.message}",
            hint="the file has description, [variables.NAME] and [slots.NAME]; a variable has "
            "type, description, example, default, labels, follows; a slot has description, "
            "example, when_empty",
        )
        for finding in spec
    ]
    raise TemplateInvalid("\n".join(map(str, problems)))
