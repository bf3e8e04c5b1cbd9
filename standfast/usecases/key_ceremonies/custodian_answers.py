"""Record of custodians' answers to challenges, and of overdue answers.

A custodian is a person with a private key that decrypts the keys of the backups. An answer to a
challenge proves that the custodian still has this private key. An append-only file has one line of
canonical JSON for each event: a challenge with its recipients, or an answer with the keys that the
custodian decrypted. A folder next to this file stores the challenges, so that answers can be
compared with them.

Rules
- An answer is valid for `FRESH_FOR` from the creation of its challenge. Therefore a second import
  of an old answer does not extend that time.
- The status contains only the custodians of the newest challenge. Custodians that retired before
  this challenge are thus omitted.
- `standfast status` reads the file and must be quick, so this module imports no large library.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from standfast.errors import StandfastError
from standfast.records import Json, canonical, timestamp
from standfast.usecases.core.append_only_file import append_lines, whole_lines

FRESH_FOR = timedelta(days=100)  # three months, and some days to answer
_FILE = "custodians.jsonl"
_ACTION = "Repair the disk, its mode or backup.send_log, then run the command again"
_CHALLENGES = "custodian-challenges"


@dataclass(frozen=True, kw_only=True)
class CustodianStatus:
    """The last proof of a custodian, or the time of the first request."""

    fingerprint: str
    name: str
    asked_at: datetime  # the time of the first challenge
    answered_at: datetime | None  # the creation time of the newest answered challenge
    lacks: tuple[str, ...]  # keys that the custodian did not decrypt in the last answer

    def is_overdue(self, now: datetime) -> bool:
        """Return whether the last answer is too old or without one of the keys."""
        return now - (self.answered_at or self.asked_at) > FRESH_FOR or bool(self.lacks)

    def as_json(self, now: datetime) -> dict[str, Json]:
        """Return the JSON form."""
        return {
            "custodian": self.fingerprint,
            "name": self.name,
            "answered_at": None if self.answered_at is None else timestamp(self.answered_at),
            "lacks": list(self.lacks),
            "is_overdue": self.is_overdue(now),
        }


def folder_of(send_log: Path) -> Path:
    """Return the folder of the file of challenges and answers."""
    return send_log.parent


def challenge_file(folder: Path, sha256: str) -> Path:
    """Return the path of a challenge."""
    return folder / _CHALLENGES / f"{sha256}.json"


def note_asked(
    folder: Path, sha256: str, custodians: Sequence[tuple[str, str]], now: datetime
) -> None:
    """Record a challenge and its recipients (fingerprint, name)."""
    people: list[Json] = [[fingerprint, name] for fingerprint, name in custodians]
    _note(
        folder, {"event": "asked", "at": timestamp(now), "challenge": sha256, "custodians": people}
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
    """Record a correct answer."""
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


def custodian_statuses(folder: Path) -> tuple[CustodianStatus, ...]:
    """Return the status of each custodian of the newest challenge, if any."""
    people: dict[str, str] = {}
    asked: dict[str, datetime] = {}
    made: dict[str, datetime] = {}
    answered: dict[str, tuple[datetime, tuple[str, ...]]] = {}
    for line in whole_lines(folder / _FILE, _ACTION):
        try:
            event = json.loads(line)
            at = datetime.fromisoformat(event["at"])
            if event["event"] == "asked":
                people = {str(custodian): str(name) for custodian, name in event["custodians"]}
                asked = {custodian: asked.get(custodian, at) for custodian in people}
                made[str(event["challenge"])] = at
            else:
                custodian, lacks = str(event["custodian"]), tuple(map(str, event["lacks"]))
                answer = (made.get(str(event["challenge"]), at), lacks)
                if custodian not in answered or answered[custodian][0] <= answer[0]:
                    answered[custodian] = answer
        except (ValueError, KeyError, TypeError):
            raise StandfastError(
                f"{folder / _FILE}: a line is neither a challenge nor an answer. Restore the file "
                "from a copy, or remove it and send a new challenge."
            ) from None
    return tuple(
        CustodianStatus(
            fingerprint=fingerprint,
            name=name,
            asked_at=asked[fingerprint],
            answered_at=answered[fingerprint][0] if fingerprint in answered else None,
            lacks=answered[fingerprint][1] if fingerprint in answered else (),
        )
        for fingerprint, name in sorted(people.items())
    )


def _note(folder: Path, event: dict[str, Json]) -> None:
    append_lines(folder / _FILE, [canonical(event)], _ACTION)
