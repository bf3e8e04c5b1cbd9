"""Preview of a notice: example values, masked rows, warnings of all rows.

A notice is a message to the people that an incident concerns. An audience is the configured list of
its recipients. A notice is made from a template. The template has variables, with one value for the
whole notice, and slots, with a value for each recipient.

Rules
- Nothing is sent, and nothing is recorded except an access to personal data.
- The data of a person are masked before the message is created, so that a masked preview contains
  no name. An unmasked preview is recorded as one audit event with the actor, the number of people
  and the reason.
- Warnings cover the whole audience, not only the rows that are shown.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from standfast.config.schema import OrganisationConfig
from standfast.errors import StandfastError, UsageError
from standfast.notices.audience import Audience, describe_ineffective_entries
from standfast.notices.audience_rows import Recipient
from standfast.notices.banned_phrases import find_banned_values
from standfast.notices.prepared_notice import Prepared, pick_language
from standfast.notices.template_renderer import Template, prepare
from standfast.plurals import counted
from standfast.records import Json, JsonObject
from standfast.reports.html_page import write_page
from standfast.reports.name_masking import mask_address, mask_word
from standfast.reports.notice_page import ShownMessage, notice_page
from standfast.reports.report_records import Heading
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.staged_sending import notice_rounds


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A notice with the given values, and examples for the missing values."""

    template: Template
    prepared: Prepared
    warnings: tuple[str, ...]

    def example(self, language: str) -> ShownMessage:
        """Return the message in one language, with example slots."""
        return _shown(self.prepared, language, self.template.example_slots())

    def examples(self) -> list[ShownMessage]:
        """Return the message in every language."""
        return [self.example(language) for language in sorted(self.prepared.languages)]


@dataclass(frozen=True, kw_only=True)
class AudienceLook:
    """Messages to the first rows of an audience, and warnings about all rows."""

    audience: str
    counts: Mapping[str, int]  # rows by kind, such as recipients, rejected rows and repeated rows
    languages: Mapping[str, int]  # recipients by their message's language
    warnings: tuple[str, ...]
    messages: tuple[ShownMessage, ...]
    is_masked: bool


def draft(
    template: Template, organisation: OrganisationConfig | None, given: Mapping[str, str]
) -> Draft:
    """Prepare a notice with the values in `given`.

    A missing value is taken from the configuration, or else from the examples of the template; a
    warning names the values from the examples. Raise UsageError for an invalid number or flag, and
    TemplateInvalid for an unknown name or any other invalid value.
    """
    context: dict[str, Json] = {**template.example_context()}
    known: dict[str, Json] = (
        {"organisation": organisation.name, "contact_line": organisation.contact_by_language}
        if organisation
        else {}
    )
    context |= {name: value for name, value in known.items() if name in context}
    context |= {name: _typed(template, name, text) for name, text in given.items()}
    for name, variable in template.variables.items():
        if variable.follows in given and name not in given:
            del context[name]  # no example for a variable that depends on a given value
    prepared = prepare(template, context)
    made_up = [name for name in template.variables if name in context.keys() - {*known, *given}]
    warnings = [f"Example values: {', '.join(made_up)}"] if made_up else []
    placeholders = organisation.placeholders if organisation else {}
    warnings += [
        f"{key} is still a placeholder of `standfast init`: set it, or no notice can be planned"
        for name, key in placeholders.items()
        if name in template.variables and name not in given
    ]
    warnings += [*prepared.warnings, *find_banned_values(context, prepared.languages)]
    return Draft(template=template, prepared=prepared, warnings=tuple(warnings))


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The final texts of an incident's notice; an approval covers them."""

    step: str
    round: int
    template: str
    audience: str
    digest: str
    messages: tuple[ShownMessage, ...]  # one for each language, with a slot as `[SLOT]`


def planned_words(installation: Installation, incident_id: str, step: str) -> Planned:
    """Return a step's newest notice in every language.

    Raise UsageError for a step without a notice. No recipient is read, so no access is recorded.
    """
    newest = notice_rounds(installation, incident_id, step)[-1]
    frozen = installation.ledger.incidents.notice(incident_id, step, newest.round)
    prepared = Prepared.from_json(frozen.body)
    own = {slot: f"[{slot}]" for slot in prepared.slots}
    return Planned(
        step=step,
        round=newest.round,
        template=frozen.template,
        audience=frozen.audience,
        digest=frozen.digest,
        messages=tuple(_shown(prepared, language, own) for language in sorted(prepared.languages)),
    )


def _shown(prepared: Prepared, language: str, slots: Mapping[str, str]) -> ShownMessage:
    filled = prepared.fill(language, slots, "preview", address="somebody@example.com")
    return ShownMessage(
        title=language,
        language=language,
        subject=filled.subject,
        text=filled.text,
        html=filled.html,
    )


def look_at_audience(
    installation: Installation,
    drafted: Draft,
    name: str,
    *,
    rows: int,
    unmasked_because: str | None,
) -> AudienceLook:
    """Return the messages to the first `rows` recipients of an audience.

    If a reason is stated, the messages are unmasked, and the access is recorded first.
    """
    audience = installation.reading_adapters().audience(name)
    default = installation.config.organisation.languages[0]
    choices = [
        pick_language(person.language, drafted.prepared.languages, default)
        for person in audience.recipients
    ]
    first = audience.recipients[:rows]
    if unmasked_because is not None:
        _note(installation, drafted.template.name, name, len(first), unmasked_because)
    messages = tuple(
        _message(
            drafted.prepared, person, choice.language, choice.warning, number, unmasked_because
        )
        for number, (person, choice) in enumerate(zip(first, choices, strict=False), 1)
    )
    fallbacks = Counter(choice.warning for choice in choices if choice.warning)
    return AudienceLook(
        audience=name,
        counts=_counts(audience),
        languages=Counter(choice.language for choice in choices),
        warnings=(
            *describe_ineffective_entries(audience),
            *_missing(drafted, audience),
            *(
                f"{counted(number, 'recipient')}: {warning}"
                for warning, number in fallbacks.most_common()
            ),
        ),
        messages=messages,
        is_masked=unmasked_because is None,
    )


def write_preview(
    drafted: Draft,
    look: AudienceLook | None,
    organisation: OrganisationConfig | None,
    out: Path,
    *,
    now: datetime,
) -> Path:
    """Write the preview page: the message in each language, then the rows."""
    page = notice_page(
        Heading(
            organisation=organisation.name if organisation else "A shipped notice",
            time_zone=organisation.time_zone if organisation else "UTC",
            written_at=now,
        ),
        notice=drafted.template.name,
        description=drafted.template.description,
        warnings=[*drafted.warnings, *(look.warnings if look else ())],
        examples=drafted.examples(),
        audience=look.audience if look else "",
        counts=look.counts if look else {},
        rows=look.messages if look else (),
        is_masked=look.is_masked if look else True,
    )
    return write_page(page, out)


def _typed(template: Template, name: str, text: str) -> Json:
    variable = template.variables.get(name)
    if variable is None or variable.type in {"text", "date", "lines", "list"}:
        return text
    if variable.type == "flag" and text in {"true", "false"}:
        return text == "true"
    if variable.type == "number" and text.removeprefix("-").isdecimal() and text.isascii():
        return int(text)
    wanted = "true or false" if variable.type == "flag" else "a whole number"
    raise UsageError(f"value {name!r}: not {wanted}. Write --value {name}=….")


def _message(
    prepared: Prepared,
    person: Recipient,
    language: str,
    warning: str,
    number: int,
    unmasked_because: str | None,
) -> ShownMessage:
    is_masked = unmasked_because is None
    values = {
        name: " ".join(map(mask_word, value.split())) if is_masked else value
        for name, value in person.values().items()
        if name in prepared.slots
    }
    to = _destination(person, is_masked=is_masked)
    notes = [warning] if warning else []
    notes += [f"reason: {person.why}"] if person.why and not is_masked else []
    title = f"{number}. {to}, {language}"
    try:
        filled = prepared.fill(language, values, "preview", address=to)
    except StandfastError as error:
        notes.append(f"would not be sent: {error}")
        return ShownMessage(title=title, language=language, notes=tuple(notes))
    return ShownMessage(
        title=title,
        language=language,
        subject=filled.subject,
        text=filled.text,
        html=filled.html,
        notes=tuple(notes),
    )


def _destination(person: Recipient, *, is_masked: bool) -> str:
    """Return the destination in words: a mail address, or a letter."""
    if person.address:
        return mask_address(person.address) if is_masked else person.address
    lines = (mask_word(person.name),) if is_masked else person.postal
    return f"letter to {', '.join(lines)}"


def _missing(drafted: Draft, audience: Audience) -> list[str]:
    """Report, for each slot, the number of recipients without a value."""
    without = Counter(
        slot
        for person in audience.recipients
        for slot in drafted.prepared.slots
        if not person.values().get(slot)
    )
    found = []
    for slot, many in sorted(without.items()):
        has_words = slot in drafted.prepared.when_empty
        then = "the notice uses its own text" if has_words else "they would not be notified"
        found.append(f"{counted(many, 'recipient')} without {slot!r}: {then}")
    return found


def _counts(audience: Audience) -> dict[str, int]:
    return {
        "recipients": len(audience.recipients),
        "held": len(audience.held),
        "suppressed": len(audience.suppressed),
        "rejected": len(audience.rejected),
        "repeated": len(audience.repeated),
    }


def _note(installation: Installation, notice: str, audience: str, number: int, reason: str) -> None:
    detail: JsonObject = {"notice": notice, "audience": audience, "count": number, "reason": reason}
    with installation.ledger.database.write(
        actor=installation.actor,
        subject="notices",
        action="audience.viewed",
        now=installation.clock(),
        detail=detail,
    ):
        pass  # only the event is written
