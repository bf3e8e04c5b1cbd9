"""Who was told what, when, by which channel, and how it ended: of each notice of an incident.

Rules
- Each person that a notice was planned for stands in one line and counts once, so that the numbers
  always add up to the audience. What an approver refused and was then asked again is not counted:
  the newer round is.
- A message that was handed over ends as its provider tells: delivered, put off, bounced, dropped.
  A letter is handed over once somebody says that it was posted; until then it is only printed.
- Whom a person decided about counts by that: told by a step of its own, or left out and why.
- Addresses print masked, as the name that the ledger has for them; in clear only with a reason, and
  then the look is one event of the timeline.
- An export has no more of a person than that name, the language and why; its digest stands in the
  timeline, so that the file can be held against it.
"""

import csv
import hashlib
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import cast

from standfast.errors import StandfastError, UsageError
from standfast.ledger.deliveries import Delivery
from standfast.ledger.effects import EffectRow
from standfast.operations.place import Place
from standfast.operations.targets import HELD, POST
from standfast.records import DeliveryState, EffectState, Json, JsonObject, canonical, timestamp

# What a person decided about somebody who was held: it stands in the effect's facts and reason.
LEFT_OUT, APART = "left out", "told by step"
LOST = (DeliveryState.DEFERRED, DeliveryState.BOUNCED, DeliveryState.DROPPED)  # and not told
_SEND = "notices.send"


class End(StrEnum):
    """How it ended for one person."""

    PLANNED = "planned"  # not begun: it waits for approval, the abort window, the canary or a turn
    UNDER_WAY = "under way"
    HANDED_OVER = "handed over"  # the channel took it on, and has told no more
    DELIVERED = "delivered"
    DEFERRED = "deferred"  # the mailbox puts it off; the provider tries again
    BOUNCED = "bounced"  # a letter: it came back
    DROPPED = "dropped"  # the provider did not try
    PRINTED = "printed"  # a letter to be posted; nobody has said that it was
    UNKNOWN = "unknown"  # it may have left; nobody could tell
    FAILED = "failed"  # it did not leave; `retry` may help
    REFUSED = "refused"  # not written to, with the reason
    HELD = "held"  # a person has to decide
    LEFT_OUT = "left out"  # a person decided so, with the reason
    NOT_APPROVED = "not approved"  # an approver said no

    @property
    def is_told(self) -> bool:
        return self in (End.HANDED_OVER, End.DELIVERED)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One person of one notice. `address` is empty unless somebody gave a reason to see it."""

    step: str
    round: int
    person: str  # the ledger's own name for the address
    address: str
    language: str
    why: str
    channel: str
    end: End
    reason: str
    submitted_at: datetime | None  # when it was handed to the channel, the last time
    ended_at: datetime | None  # when the channel answered, or the provider told the end
    complained_at: datetime | None  # when the reader called it spam, the first time

    def as_json(self) -> JsonObject:
        """Give the line for `--json` and for an export."""
        return {
            "step": self.step,
            "round": self.round,
            "person": self.person,
            **({"address": self.address} if self.address else {}),
            "language": self.language,
            "why": self.why,
            "channel": self.channel,
            "end": self.end.value,
            "reason": self.reason,
            "submitted_at": timestamp(self.submitted_at) if self.submitted_at else None,
            "ended_at": timestamp(self.ended_at) if self.ended_at else None,
            "complained_at": timestamp(self.complained_at) if self.complained_at else None,
        }


@dataclass(frozen=True, kw_only=True)
class Account:
    """One notice: its lines, and what they add up to."""

    step: str
    template: str
    root: str  # Merkle root of what was approved
    lines: tuple[Line, ...]

    @property
    def counts(self) -> Mapping[End, int]:
        found = Counter(line.end for line in self.lines)
        return {end: found[end] for end in End if found[end]}

    @property
    def untold(self) -> int:
        return sum(not line.end.is_told for line in self.lines)

    def as_json(self) -> JsonObject:
        """Give the notice for `--json`, without its lines."""
        return {
            "step": self.step,
            "template": self.template,
            "root": self.root,
            "audience": len(self.lines),
            "untold": self.untold,
            "counts": {end.value: number for end, number in self.counts.items()},
        }


def account(place: Place, incident_id: str, *, unmasked_because: str = "") -> list[Account]:
    """Give the account of each notice; with a reason, addresses in clear, and the look is noted."""
    ledger = place.ledger
    ledger.incidents.get(incident_id)
    rows = [row for row in ledger.effects.of_incident(incident_id) if row.verb == _SEND]
    if unmasked_because:
        with ledger.core.write(
            actor=place.actor,
            subject=incident_id,
            action="accounting.viewed",
            now=place.clock(),
            detail={"count": len(rows), "reason": unmasked_because},
        ):
            pass  # the event is all there is to write
    refused = ledger.steps.refused(incident_id)
    rows = counted_rows(rows, refused)
    deliveries = ledger.deliveries.of_incident(incident_id)
    calls = ledger.notices.calls(incident_id)
    of_step: dict[str, list[Line]] = {}
    for row in rows:
        one = line(
            row,
            deliveries.get(row.token),
            calls.get(row.token, (None, None)),
            is_refused=(row.step, row.round) in refused,
            is_clear=bool(unmasked_because),
        )
        of_step.setdefault(row.step, []).append(one)
    notices = {one.step: one for one in ledger.notices.of_incident(incident_id)}
    return [
        Account(
            step=step,
            template=notices[step].template if step in notices else "",
            root=notices[step].root if step in notices else "",
            lines=tuple(lines),
        )
        for step, lines in of_step.items()
    ]


def counted_rows(rows: Sequence[EffectRow], refused: set[tuple[str, int]]) -> list[EffectRow]:
    """Leave out what stands elsewhere: each person counts once.

    That is rounds that an approver refused where a later round was asked for, and who was held and
    is told by a step of their own.
    """
    latest: dict[str, int] = {}
    for row in rows:
        latest[row.step] = max(latest.get(row.step, 0), row.round)
    counted = [
        row for row in rows if row.round == latest[row.step] or (row.step, row.round) not in refused
    ]
    told_apart = {
        row.details["settles"]
        for row in counted
        if "settles" in row.details and (row.step, row.round) not in refused
    }
    return [
        row
        for row in counted
        if row.token not in told_apart
        and not ("settles" in row.details and (row.step, row.round) in refused)
    ]


def line(
    row: EffectRow,
    delivery: Delivery | None,
    call: tuple[datetime | None, datetime | None],
    *,
    is_refused: bool,
    is_clear: bool,
) -> Line:
    """Give one person's line."""
    end = _end(row, delivery, is_refused=is_refused)
    details = cast("Mapping[str, str]", row.details)
    address = details.get("address") or row.target.partition(":")[2].replace("\n", ", ")
    submitted_at, ended_at = call
    is_posted = row.target.startswith(POST) and end is End.HANDED_OVER
    if delivery is not None and (end.value == delivery.state.value or is_posted):
        ended_at = delivery.at
    return Line(
        step=row.step,
        round=row.round,
        person=row.handle[:16],
        address=address if is_clear else "",
        language=details.get("language", ""),
        why=details.get("why", ""),
        channel=row.connector,
        end=end,
        reason=row.reason,
        submitted_at=submitted_at,
        ended_at=ended_at,
        complained_at=delivery.complained_at if delivery else None,
    )


def _end(row: EffectRow, delivery: Delivery | None, *, is_refused: bool) -> End:
    match row.state:
        case EffectState.PLANNED:
            return End.NOT_APPROVED if is_refused else End.PLANNED
        case EffectState.SUBMITTING:
            return End.UNDER_WAY
        case EffectState.UNKNOWN:
            is_letter = row.target.startswith(POST) and row.is_parked
            return End.PRINTED if is_letter else End.UNKNOWN
        case EffectState.FAILED:
            return End.FAILED
        case EffectState.REFUSED:
            if not row.target.startswith(HELD):
                return End.REFUSED
            return End.LEFT_OUT if row.facts.get("decision") == LEFT_OUT else End.HELD
        case EffectState.DONE:
            match delivery.state if delivery else None:
                case DeliveryState.DELIVERED:
                    return End.DELIVERED
                case DeliveryState.BOUNCED:
                    return End.BOUNCED
                case DeliveryState.DROPPED:
                    return End.DROPPED
                case DeliveryState.DEFERRED:
                    return End.DEFERRED
                case _:
                    return End.HANDED_OVER


def export(place: Place, incident_id: str, accounts: Sequence[Account], file: Path) -> str:
    """Write every line to a `.csv` or `.json` file; give its SHA-256, which the timeline has, too.

    UsageError for another ending; StandfastError when the file is there already or cannot be
    written.
    """
    lines = [one.as_json() for each in accounts for one in each.lines]
    match file.suffix:
        case ".json":
            document: dict[str, Json] = {
                "incident": incident_id,
                "at": timestamp(place.clock()),
                "notices": [each.as_json() for each in accounts],
                "lines": lines,
            }
            text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        case ".csv":
            text = _as_csv(lines)
        case _:
            raise UsageError(f"an export is a .csv or a .json file, not {file.name}")
    content = text.encode()
    found = hashlib.sha256(content).hexdigest()
    with place.ledger.core.write(
        actor=place.actor,
        subject=incident_id,
        action="accounting.exported",
        now=place.clock(),
        detail={
            "sha256": found,
            "lines": len(lines),
            "rows": hashlib.sha256(b"".join(map(canonical, lines))).hexdigest(),
            "is_masked": not any(one.address for each in accounts for one in each.lines),
        },
    ):
        pass  # before the file: what left is noted, also when writing it then fails
    try:
        with file.open("xb") as stream:
            file.chmod(0o600)
            stream.write(content)
    except OSError as error:
        raise StandfastError(
            f"{file} cannot be written: {error.strerror}; name another file"
        ) from None
    return found


def _as_csv(lines: Sequence[JsonObject]) -> str:
    stream = io.StringIO()
    names = list(dict.fromkeys(name for one in lines for name in one)) or ["step"]
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in one.items()} for one in lines)
    return stream.getvalue()


def _cell(value: Json) -> Json:
    """Keep a spreadsheet from taking a customer's text for a formula."""
    if not isinstance(value, str):
        return value
    # Some take full-width signs for the plain ones, and skip any space before them.
    begins = unicodedata.normalize("NFKC", value).lstrip()[:1]
    is_formula = begins in ("=", "+", "-", "@") or value[:1] in ("\t", "\r")
    return f"'{value}" if is_formula else value
