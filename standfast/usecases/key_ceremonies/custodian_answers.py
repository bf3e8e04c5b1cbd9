"""Who of the custodians was asked for a sign of their key, and who answered; beside the send-log.

One line of canonical JSON an event, appended only: a challenge with whom it went to, an answer with
what it opened. Challenges themselves are kept in a folder next to it, to compare answers with.

Rules
- A sign is as old as the challenge that it answers: an old answer that is taken in again proves
  nothing new.
- Whoever was in the newest challenge counts; a custodian who was retired since is not asked again.
- It is read by `standfast status`, so it imports nothing heavy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from standfast.errors import StandfastError
from standfast.records import Json, canonical, timestamp
from standfast.usecases.core.append_only_file import append_lines, whole_lines

FRESH_FOR = timedelta(days=100)  # a quarter, and some days to do it
_FILE = "custodians.jsonl"
_MEND = "mend the disk, its mode or backup.send_log, then run this again"
_CHALLENGES = "custodian-challenges"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How long ago a custodian last showed that the key is there and opens."""

    fingerprint: str
    name: str
    asked_at: datetime  # for the first time
    answered_at: datetime | None  # when the newest challenge that was answered had been made
    lacks: tuple[str, ...]  # keys that did not open for them, in the last answer

    def is_overdue(self, now: datetime) -> bool:
        """Whether the last sign is too long ago, or something did not open."""
        return now - (self.answered_at or self.asked_at) > FRESH_FOR or bool(self.lacks)

    def as_json(self, now: datetime) -> dict[str, Json]:
        """Give it for `--json`."""
        return {
            "custodian": self.fingerprint,
            "name": self.name,
            "answered_at": None if self.answered_at is None else timestamp(self.answered_at),
            "lacks": list(self.lacks),
            "is_overdue": self.is_overdue(now),
        }


def folder_of(send_log: Path) -> Path:
    """Where all of this lies."""
    return send_log.parent


def challenge_file(folder: Path, sha256: str) -> Path:
    """Where a challenge is kept."""
    return folder / _CHALLENGES / f"{sha256}.json"


def note_asked(
    folder: Path, sha256: str, custodians: Sequence[tuple[str, str]], now: datetime
) -> None:
    """Record that a challenge went out to these (fingerprint, name)."""
    people: list[Json] = [[fingerprint, name] for fingerprint, name in custodians]
    _note(
        folder,
        {"event": "asked", "at": timestamp(now), "challenge": sha256, "custodians": people},
    )


def note_answered(
    folder: Path,
    *,
    sha256: str,
    fingerprint: str,
    opens: Sequence[str],
    lacks: Sequence[str],
    now: datetime,
) -> None:
    """Record an answer that was found right."""
    _note(
        folder,
        {
            "event": "answered",
            "at": timestamp(now),
            "challenge": sha256,
            "custodian": fingerprint,
            "opens": list(opens),
            "lacks": list(lacks),
        },
    )


def standings(folder: Path) -> tuple[Standing, ...]:
    """How each custodian of the newest challenge stands; empty when none was ever made."""
    people: dict[str, str] = {}
    asked: dict[str, datetime] = {}
    made: dict[str, datetime] = {}
    answered: dict[str, tuple[datetime, tuple[str, ...]]] = {}
    for line in whole_lines(folder / _FILE, _MEND):
        try:
            event = json.loads(line)
            at = datetime.fromisoformat(event["at"])
            if event["event"] == "asked":
                people = {str(one): str(name) for one, name in event["custodians"]}
                asked = {one: asked.get(one, at) for one in people}
                made[str(event["challenge"])] = at
            else:
                one, lacks = str(event["custodian"]), tuple(map(str, event["lacks"]))
                sign = (made.get(str(event["challenge"]), at), lacks)
                if one not in answered or answered[one][0] <= sign[0]:
                    answered[one] = sign
        except (ValueError, KeyError, TypeError):
            raise StandfastError(
                f"{folder / _FILE} has a line that is no challenge and no answer; mend it from a "
                "copy, or remove it and ask the custodians anew"
            ) from None
    return tuple(
        Standing(
            fingerprint=one,
            name=name,
            asked_at=asked[one],
            answered_at=answered[one][0] if one in answered else None,
            lacks=answered[one][1] if one in answered else (),
        )
        for one, name in sorted(people.items())
    )


def _note(folder: Path, event: dict[str, Json]) -> None:
    append_lines(folder / _FILE, [canonical(event)], _MEND)
