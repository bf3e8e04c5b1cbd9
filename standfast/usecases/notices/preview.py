"""A notice before anyone approves it: in every language, and as the first of an audience get it.

Rules
- Nothing is recorded but a look at people, and nothing is sent.
- People are masked before their message is made, so that no masked preview holds a name. Unmasked,
  the look is one event of the audit chain: by whom, at how many, why.
- What will go less well than it looks is said for the whole audience, not only for the rows shown.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from standfast.config.schema import OrganisationConfig
from standfast.errors import StandfastError, UsageError
from standfast.notices.audience import Audience, Recipient
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
from standfast.usecases.notices.staged_sending import its_notice, unread_entries


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A notice with the values that were given, and examples for the others."""

    template: Template
    prepared: Prepared
    warnings: tuple[str, ...]

    def example(self, language: str) -> ShownMessage:
        """Give what a reader of one language would get, with the examples of the slots."""
        return _shown(self.prepared, language, self.template.example_slots())

    def examples(self) -> list[ShownMessage]:
        """Give that in every language."""
        return [self.example(language) for language in sorted(self.prepared.languages)]


@dataclass(frozen=True, kw_only=True)
class AudienceLook:
    """What the first of an audience would get, and what is to be known about all of it."""

    audience: str
    counts: Mapping[str, int]  # rows by what becomes of them
    languages: Mapping[str, int]  # recipients by the language that they get
    warnings: tuple[str, ...]
    messages: tuple[ShownMessage, ...]
    is_masked: bool


def draft(
    template: Template, organisation: OrganisationConfig | None, given: Mapping[str, str]
) -> Draft:
    """Prepare a notice with the values `given` as text; UsageError for an unfit number or flag.

    What is not given is the place's own, else the example; a warning names those. Raises
    TemplateInvalid for a value that the notice does not have or that does not fit.
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
            del context[name]  # it goes with what was given, not with the example
    prepared = prepare(template, context)
    made_up = [name for name in template.variables if name in context.keys() - {*known, *given}]
    warnings = [f"Made up here: {', '.join(made_up)}"] if made_up else []
    left = organisation.placeholders if organisation else {}
    warnings += [
        f"{key} is as `standfast init` wrote it: set it, or this is planned for nobody"
        for name, key in left.items()
        if name in template.variables and name not in given
    ]
    warnings += [*prepared.warnings, *find_banned_values(context, prepared.languages)]
    return Draft(template=template, prepared=prepared, warnings=tuple(warnings))


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The words of a notice of an incident, as they are frozen: what an approval signs."""

    step: str
    round: int
    template: str
    audience: str
    digest: str
    messages: tuple[ShownMessage, ...]  # one a language; `[name]` stands for a reader's own


def planned_words(installation: Installation, incident_id: str, step: str) -> Planned:
    """Give what the latest round of a step tells, in every language; UsageError for another step.

    It opens nobody's row, so the look is not noted.
    """
    newest = its_notice(installation, incident_id, step)[-1]
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
    """Show what the first `rows` recipients of an audience would get.

    With a reason they are shown as they are, and the look is noted before they are.
    """
    audience = installation.reader().audience(name)
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
            *unread_entries(audience),
            *_missing(drafted, audience),
            *(f"{counted(many, 'recipient')}: {what}" for what, many in fallbacks.most_common()),
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
    """Write the page: every language side by side, and then the rows that were looked at."""
    page = notice_page(
        Heading(
            organisation=organisation.name if organisation else "A notice as it is shipped",
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
    raise UsageError(f"the value {name!r} must be {wanted}; write --value {name}=…")


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
    to = _to(person, is_masked=is_masked)
    notes = [warning] if warning else []
    notes += [f"told because: {person.why}"] if person.why and not is_masked else []
    title = f"{number}. {to}, {language}"
    try:
        filled = prepared.fill(language, values, "preview", address=to)
    except StandfastError as error:
        notes.append(f"would not be told: {error}")
        return ShownMessage(title=title, language=language, notes=tuple(notes))
    return ShownMessage(
        title=title,
        language=language,
        subject=filled.subject,
        text=filled.text,
        html=filled.html,
        notes=tuple(notes),
    )


def _to(person: Recipient, *, is_masked: bool) -> str:
    """Say where it goes: to a mail address, or as a letter."""
    if person.address:
        return mask_address(person.address) if is_masked else person.address
    lines = (mask_word(person.name),) if is_masked else person.postal
    return f"letter to {', '.join(lines)}"


def _missing(drafted: Draft, audience: Audience) -> list[str]:
    """Say of each value that a message shows how many recipients do not have it."""
    without = Counter(
        slot
        for person in audience.recipients
        for slot in drafted.prepared.slots
        if not person.values().get(slot)
    )
    found = []
    for slot, many in sorted(without.items()):
        has_words = slot in drafted.prepared.when_empty
        then = "the notice's own words stand there" if has_words else "they would not be told"
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
    detail: JsonObject = {
        "notice": notice,
        "audience": audience,
        "count": number,
        "reason": reason,
    }
    with installation.ledger.database.write(
        actor=installation.actor,
        subject="notices",
        action="audience.viewed",
        now=installation.clock(),
        detail=detail,
    ):
        pass  # the event is all there is to write
