"""Check and rendering of templates, with the banner of an exercise.

A template has the texts of a notice (a message to the people that an incident concerns). This
module checks and renders texts that it receives as values. `template_folder` reads them from the
disk, and `prepared_notice` fills in the values of recipients.

Rules
- Only a complete template is loaded. Every language has a subject and a body, every name is
  declared, every label is translated, and the template renders with its own examples.
- The size of the input is limited (`template_context`, `template_grammar`). Each rendered part has
  at most LARGEST_RESULT bytes.
- A subject is one line.
- A slot is the place of a recipient's value. It is rendered as a mark that contains the hash of the
  sources and the values, so that no value can contain the mark. The rendered text is then split at
  all marks in one pass.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, SimpleNamespace

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from standfast.errors import Problem, TemplateInvalid
from standfast.notices.html_body import html_body, text_body, without_marks
from standfast.notices.plain_text import is_one_line
from standfast.notices.prepared_notice import Piece, Prepared, PreparedParts
from standfast.notices.template_context import SPEC_FILE, Slot, Variable, read_spec
from standfast.notices.template_grammar import environment, read
from standfast.records import Json, JsonObject, canonical
from standfast.suggestions import nearest_name_hint

LARGEST_RESULT = 65_536  # bytes of one rendered part
LONGEST_SUBJECT = 250  # characters; RFC 5322 2.1.1 allows 998 bytes in an encoded line
PART_FILES = ("subject.txt", "body.txt")
EXERCISE_BANNER = "[EXERCISE]"

_EXERCISE_WORDS = {
    "en": "This is an exercise. Nothing has happened, and nothing needs to be done.",
    "es": "Esto es un simulacro. No ha ocurrido nada y no hay que hacer nada.",
    "fr": "Ceci est un exercice. Il ne s’est rien passé et il n’y a rien à faire.",
    "de": "Dies ist eine Übung. Es ist nichts geschehen, und es ist nichts zu tun.",
}
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The sources of the subject and the body in one language."""

    subject: str
    body: str

    def by_file(self) -> dict[str, str]:
        """Return the sources by the names of their files."""
        return dict(zip(PART_FILES, (self.subject, self.body), strict=True))


@dataclass(frozen=True, kw_only=True)
class Template:
    """A checked template; `slots` are the names of the slots in its texts."""

    name: str
    description: str
    languages: Mapping[str, Parts]
    variables: Mapping[str, Variable]
    slots: frozenset[str]
    slot_notes: Mapping[str, Slot]

    @property
    def required(self) -> frozenset[str]:
        """Return the names of the variables that an incident must supply."""
        return frozenset(name for name, variable in self.variables.items() if variable.is_required)

    def words_in(self, language: str) -> list[str]:
        """Return the texts that `context.toml` has in one language."""
        translated = [
            *(
                labels
                for variable in self.variables.values()
                for labels in variable.labels.values()
            ),
            *(slot.when_empty for slot in self.slot_notes.values()),
        ]
        return [words[language] for words in translated if language in words]

    def example_context(self) -> JsonObject:
        """Return a value for every variable, for previews."""
        return {name: variable.example for name, variable in self.variables.items()}

    def example_slots(self) -> Mapping[str, str]:
        """Return a value for every slot, for previews."""
        return {name: slot.example for name, slot in self.slot_notes.items()}


def load(files: Mapping[str, str], name: str) -> Template:
    """Check a template and return it.

    `files` contains texts by name, such as "context.toml" and "en/subject.txt". Raise
    TemplateInvalid with every problem found, each with its file, line and a hint.
    """
    if SPEC_FILE not in files:
        message = f"there is no {SPEC_FILE}"
        raise _invalid([Problem(file=name, line=0, message=message, hint="copy a shipped one")])
    spec = read_spec(files[SPEC_FILE], f"{name}/{SPEC_FILE}")
    languages, problems = _by_language(files, name)
    slots: set[str] = set()
    for language, parts in languages.items():
        for part_file, source in parts.by_file().items():
            reading = read(
                source,
                f"{name}/{language}/{part_file}",
                spec,
                is_subject=part_file == "subject.txt",
            )
            slots |= reading.slots
            problems += reading.problems
    problems += [
        Problem(file=f"{name}/{SPEC_FILE}", line=0, message=message)
        for message in spec.untranslated(frozenset(languages))
    ]
    if problems:
        raise _invalid(problems)
    template = Template(
        name=name,
        description=spec.description,
        languages=languages,
        variables=spec.variables,
        slots=frozenset(slots),
        slot_notes=spec.slots,
    )
    prepare(template, template.example_context())
    return template


def prepare(template: Template, context: JsonObject, *, banner: bool = False) -> Prepared:
    """Render every language with an incident's values; slots stay unfilled.

    With `banner`, the subject and the bodies begin with a line that says that this is an exercise.
    Raise TemplateInvalid with every value that is missing, unknown or invalid, and if a part is too
    large.
    """
    values = _complete(template, context)
    sandbox = environment()
    stamp = _stamp(template, values)
    mark = re.compile(f"slot{stamp}([a-z][a-z0-9_]*)end{stamp}")
    recipient = SimpleNamespace(
        **{name: f"slot{stamp}{name}end{stamp}" for name in template.slot_notes}
    )
    problems: list[Problem] = []
    prepared: dict[str, PreparedParts] = {}
    warnings = [
        f"{template.name}: {name!r} has {entry!r}, which is not a code and is shown as written"
        f"{nearest_name_hint(entry, variable.labels)}"
        for name, variable in template.variables.items()
        for entry in variable.misspelt_codes(values[name])
    ]
    for language, parts in template.languages.items():
        local: dict[str, Json] = {
            name: variable.in_language(values[name], language)
            for name, variable in template.variables.items()
        }
        warnings += [
            f"{template.name}: {name!r} is not translated into {language}; it is shown as written"
            for name, variable in template.variables.items()
            if not variable.is_translated(values[name], language)
        ]
        rendered = dict.fromkeys(PART_FILES, "")
        for part, source in parts.by_file().items():
            try:
                rendered[part] = _render(sandbox, source, part, {**local, "recipient": recipient})
            except (TemplateError, SyntaxError, RecursionError, _TooLarge) as error:
                file = f"{template.name}/{language}/{part}"
                message = f"does not render: {type(error).__name__.strip('_')}"
                problems.append(Problem(file=file, line=0, message=message))
        subject = without_marks(rendered["subject.txt"]).strip()
        problems += _subject_problems(f"{template.name}/{language}/subject.txt", subject, mark)
        words = ""
        if banner:
            words = f"{EXERCISE_BANNER} {_exercise_words(language)}"
            subject = f"{EXERCISE_BANNER} {subject}"
        marked_up = html_body(rendered["body.txt"], language, words)
        if len(marked_up.encode()) > LARGEST_RESULT:
            file = f"{template.name}/{language}/body.txt"
            problems.append(Problem(file=file, line=0, message="its HTML is too large"))
        prepared[language] = PreparedParts(
            subject=_pieces(subject, mark),
            text=_pieces(text_body(rendered["body.txt"], words), mark),
            html=_pieces(marked_up, mark),
        )
    if problems:
        raise _invalid(problems)
    return Prepared(
        template=template.name,
        languages=prepared,
        when_empty={
            name: slot.when_empty for name, slot in template.slot_notes.items() if slot.when_empty
        },
        warnings=tuple(warnings),
    )


class _TooLarge(Exception):
    pass


def _by_language(files: Mapping[str, str], name: str) -> tuple[dict[str, Parts], list[Problem]]:
    found: dict[str, dict[str, str]] = {}
    problems = []
    for path in sorted(files.keys() - {SPEC_FILE}):
        language, _, part = path.partition("/")
        if not _LANGUAGE.fullmatch(language) or part not in PART_FILES:
            hint = f"a template has {SPEC_FILE} and LANGUAGE/{{{','.join(PART_FILES)}}}"
            file = f"{name}/{path}"
            problems.append(Problem(file=file, line=0, message="does not belong here", hint=hint))
            continue
        found.setdefault(language, {})[part] = files[path]
    for language, parts in found.items():
        problems += [
            Problem(file=f"{name}/{language}/{part}", line=0, message="is missing")
            for part in PART_FILES
            if part not in parts
        ]
    if not found:
        problems.append(Problem(file=name, line=0, message="there is no language"))
    complete = {
        language: Parts(subject=parts["subject.txt"], body=parts["body.txt"])
        for language, parts in found.items()
        if parts.keys() == set(PART_FILES)
    }
    return complete, problems


def _complete(template: Template, context: JsonObject) -> dict[str, Json]:
    problems = [
        (name, "is not a value of this template")
        for name in context.keys() - template.variables.keys()
    ]
    values: dict[str, Json] = {}
    for name, variable in template.variables.items():
        if name in context:
            values[name] = variable.converted(context[name])
            if why := variable.problem_of(values[name]):
                problems.append((name, why))
        elif variable.default is not None:
            values[name] = variable.default
        else:
            problems.append((name, f"is missing: {variable.description}"))
    for name, variable in template.variables.items():
        if variable.follows and name not in context:
            values[name] = variable.codes_of_followed_list(values.get(variable.follows))
    if problems:
        hint = f"it takes {', '.join(sorted(template.variables))}"
        raise _invalid(
            [
                Problem(file=template.name, line=0, message=f"{name!r} {message}", hint=hint)
                for name, message in sorted(problems)
            ]
        )
    return values


def _stamp(template: Template, values: JsonObject) -> str:
    sources: dict[str, Json] = {
        language: [parts.subject, parts.body] for language, parts in template.languages.items()
    }
    return hashlib.sha256(canonical({"sources": sources, "values": values})).hexdigest()


def _render(
    sandbox: ImmutableSandboxedEnvironment, source: str, part: str, values: dict[str, object]
) -> str:
    code = _compiled(source, part)
    template = sandbox.template_class.from_code(sandbox, code, sandbox.make_globals(None))
    pieces: list[str] = []
    size = 0
    for piece in template.generate(values):
        size += len(piece.encode())
        if size > LARGEST_RESULT:
            raise _TooLarge
        pieces.append(piece)
    return "".join(pieces)


@lru_cache(maxsize=512)  # the page of each approver renders the same sources
def _compiled(source: str, part: str) -> CodeType:
    return environment().compile(source, name=part, filename=part)


def _subject_problems(file: str, subject: str, mark: re.Pattern[str]) -> list[Problem]:
    if 0 < len(mark.sub("", subject)) <= LONGEST_SUBJECT and is_one_line(subject):
        return []
    message = f"must render as one line of at most {LONGEST_SUBJECT} characters"
    return [Problem(file=file, line=0, message=message)]


def _exercise_words(language: str) -> str:
    return _EXERCISE_WORDS.get(language.partition("-")[0], _EXERCISE_WORDS["en"])


def _pieces(rendered: str, mark: re.Pattern[str]) -> tuple[Piece, ...]:
    halves = mark.split(rendered)  # text, slot, text, slot, …, text
    return tuple(
        Piece(text=half, is_slot=bool(position % 2)) for position, half in enumerate(halves) if half
    )


def _invalid(problems: list[Problem]) -> TemplateInvalid:
    return TemplateInvalid("\n".join(map(str, problems)))
