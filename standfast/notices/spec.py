"""What a template asks for: its `context.toml`, read into records.

Owns the form of that file and the check of the values an incident brings. Leaves the template texts
to `grammar` and `render`.

Rules
- A variable is the same for all recipients; a slot is one recipient's own.
- Prose can be given in each language, as an object `{"en": "…", "es": "…"}`; plain text is used in
  every language as it stands.
- `labels` translate the codes that an operator writes at night (`phone`) into words of each
  language; what is not a code stands as written.
- Every variable and slot has a description and an example: a preview needs nothing else.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from standfast.errors import Problem, TemplateInvalid
from standfast.notices.plain import is_one_line, is_some_lines
from standfast.records import Json, JsonObject

LONGEST_TEXT = 1_000
LONGEST_LINES = 8_000
LONGEST_LIST = 200
RESERVED = frozenset({"recipient", "loop"})
SPEC_FILE = "context.toml"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
Kind = Literal["text", "lines", "list", "number", "flag"]
Value = bool | int | str | tuple[str, ...] | Mapping[Language, str]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variable(_Section):
    """One value that the incident brings, the same for every recipient.

    `text` is one line, `lines` may have several and must not stand in a subject, `list` is one line
    an entry, `number` a whole number, `flag` true or false. Without `default` it is required.
    """

    kind: Kind = Field(alias="type")
    description: str = Field(min_length=1)
    example: Value
    default: Value | None = None
    labels: dict[str, dict[Language, str]] = Field(default_factory=dict)

    @property
    def is_required(self) -> bool:
        return self.default is None

    def unfit(self, value: Json) -> str:
        """Say why `value` does not fit, or nothing when it does."""
        if isinstance(value, Mapping):
            if self.kind not in {"text", "lines"} or not value:
                return f"must be {_WORDS[self.kind]}"
            return next(filter(None, map(self.unfit_text, value.values())), "")
        return self.unfit_text(value)

    def unfit_text(self, value: Json) -> str:
        """The same for a value that is not given by language."""
        fits: bool
        match self.kind:
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
            case "lines":
                fits = (
                    isinstance(value, str) and len(value) <= LONGEST_LINES and is_some_lines(value)
                )
        return "" if fits else f"must be {_WORDS[self.kind]}"

    def in_language(self, value: Json, language: str) -> Json:
        """Give `value` as a reader of `language` gets it; it must fit."""
        if isinstance(value, Mapping):
            value = value.get(language) or value.get("en") or next(iter(value.values()))
        if isinstance(value, str):
            return self._labelled(value, language)
        if isinstance(value, list | tuple):
            return [self._labelled(str(entry), language) for entry in value]
        return value

    def speaks(self, value: Json, language: str) -> bool:
        """Will a reader of `language` get this prose in that language, as far as can be known?"""
        if isinstance(value, Mapping):
            return language in value
        if isinstance(value, str) and (self.labels or self.kind == "lines"):
            return not value or value in self.labels
        if self.labels and isinstance(value, list | tuple):
            return all(entry in self.labels for entry in value)
        return True

    def _labelled(self, text: str, language: str) -> str:
        words = self.labels.get(text)
        return text if words is None else words[language]


_WORDS: dict[Kind, str] = {
    "text": f"one line of at most {LONGEST_TEXT} characters, without controls",
    "lines": f"text of at most {LONGEST_LINES} characters, without controls but line ends",
    "list": f"a list of at most {LONGEST_LIST} lines of at most {LONGEST_TEXT} characters each",
    "number": "a whole number",
    "flag": "true or false",
}


def _is_short_line(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and is_one_line(text)


class Slot(_Section):
    """One value that each recipient has of their own, and what stands there when it is empty."""

    description: str = Field(min_length=1)
    example: str
    when_empty: dict[Language, str] = Field(default_factory=dict)


class Spec(_Section):
    """The whole `context.toml`."""

    description: str = Field(min_length=1)
    variables: dict[Name, Variable] = Field(default_factory=dict)
    slots: dict[Name, Slot] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _values_fit(self) -> "Spec":
        for name, variable in self.variables.items():
            if name in RESERVED:
                raise ValueError(f"{name!r} is a reserved name; choose another")
            for value in (variable.example, variable.default):
                if value is not None and (why := variable.unfit(value)):
                    raise ValueError(f"the example or default of {name!r} {why}")
        return self

    def example_context(self) -> JsonObject:
        """Give a value for every variable, for previews."""
        return {name: variable.example for name, variable in self.variables.items()}

    def example_slots(self) -> Mapping[str, str]:
        """Give a value for every slot, for previews."""
        return {name: slot.example for name, slot in self.slots.items()}

    def untranslated(self, languages: frozenset[str]) -> list[str]:
        """Name each label and each filler that lacks one of `languages`."""
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
    """Read a `context.toml`; raise TemplateInvalid naming every key that is wrong."""
    try:
        return Spec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else 0
        raise TemplateInvalid(
            str(Problem(file=file, line=line, message=f"no TOML: {error}"))
        ) from None
    except ValidationError as error:
        problems = [
            Problem(
                file=file,
                line=0,
                message=f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}",
                hint="a variable has type, description, example, default, labels; "
                "a slot has description, example, when_empty",
            )
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise TemplateInvalid("\n".join(map(str, problems))) from None
