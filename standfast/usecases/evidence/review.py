"""The review of an incident's evidence, as a use-case: which folders are read, and what is kept.

Rules
- A folder whose seal or chain of custody does not hold is named and not read; the others are. So is
  a copy that is not what was sealed. Either makes the review FAILED, with the timeline of the rest.
- Each folder's chain gets a line before it is read: who looked, and why.
- The timeline is a file of its own beside the evidence, one entry a line; it names people, so only
  its digest and its counts go to the ledger.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, StandfastError
from standfast.evidence.custody import Act, append_custody
from standfast.evidence.durable_files import make_private, write_atomically
from standfast.evidence.evidence_review import Review, review, too_short, wanted_of
from standfast.evidence.seal import read_sealed
from standfast.plurals import counted
from standfast.records import JsonObject, canonical
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import Frozen, frozen

REVIEWS = "reviews"
_NAMED = 5  # copies that are named at once


@dataclass(frozen=True, kw_only=True)
class ReviewResult:
    """What a review came to."""

    timeline: Path
    digest: str
    result: Review
    folders: int
    unsound: tuple[str, ...]  # sources whose seal or chain of custody does not hold
    too_short: int  # accounts that were not looked for, since every file has their name
    noted: Mapping[str, str]  # SOURCE/TOKEN, and the hash of the line in its chain of custody

    @property
    def reason(self) -> str:
        """Say it for a person."""
        found = len(self.result.entries) + self.result.left_out
        parts = [f"{found} entries from {self.result.files} files of {self.folders} folders"]
        if self.result.left_out:
            parts.append(f"{self.result.left_out} of them not kept")
        if self.result.unread:
            parts.append(f"{self.result.unread} files could not be read")
        if self.too_short:
            accounts = counted(self.too_short, "account")
            parts.append(f"{accounts} not looked for, by a name that is too short")
        if altered := self.result.altered:
            copies = counted(len(altered), "copy is", "copies are")
            more = "; `standfast evidence verify` names all" if len(altered) > _NAMED else ""
            named = ", ".join(altered[:_NAMED])
            parts.append(f"{copies} not as sealed, and left out: {named}{more}")
        if self.unsound:
            parts.append(
                "not read, for their seal or chain of custody does not hold: "
                f"{', '.join(self.unsound)}"
            )
        return "; ".join(parts)

    @property
    def is_whole(self) -> bool:
        """Was all of the evidence as it was sealed?"""
        return not self.unsound and not self.result.altered

    def as_json(self) -> JsonObject:
        """Give it for the receipt."""
        return {
            "timeline": str(self.timeline),
            "sha256": self.digest,
            "entries": len(self.result.entries),
            "left_out": self.result.left_out,
            "files": self.result.files,
            "unread": self.result.unread,
            "folders": self.folders,
            "altered": len(self.result.altered),
            "unsound": list(self.unsound),
            "too_short": self.too_short,
            "custody": dict(self.noted),
        }


def review_evidence(
    installation: Installation,
    incident_id: str,
    token: str,
    indicators: Sequence[str],
    accounts: Sequence[str],
) -> ReviewResult:
    """Look through what an incident froze; raises StandfastError when nothing was frozen."""
    wanted = wanted_of(indicators, accounts)
    detail = f"reviewed for {counted(len(indicators) + len(accounts), 'indicator')}"
    there = frozen(installation.config, incident_id)
    notes = {
        one.folder: line
        for one in there
        if not one.problems and (line := _noted(installation, one, detail)) is not None
    }
    sound = [one for one in there if one.folder in notes]
    if not sound:
        raise StandfastError(
            "there is nothing sound to look through: freeze the evidence first, and look at what "
            f"`standfast evidence verify {incident_id}` says"
        )
    key = read_signing_key(installation.config.custody.key).public_key()
    found = review([(one.folder, read_sealed(one.folder, key)) for one in sound], wanted)
    folder = installation.config.custody.folder / incident_id / REVIEWS
    make_private(folder)
    timeline = folder / f"{token}.jsonl"
    content = b"".join(canonical(entry.as_json()) + b"\n" for entry in found.in_order())
    write_atomically(timeline, content)
    return ReviewResult(
        timeline=Path(os.path.relpath(timeline, installation.config.custody.folder)),
        digest=hashlib.sha256(content).hexdigest(),
        result=found,
        folders=len(sound),
        too_short=too_short(accounts),
        noted={f"{one.source}/{one.folder.name}": notes[one.folder] for one in sound},
        unsound=tuple(dict.fromkeys(one.source for one in there if one not in sound)),
    )


def _noted(installation: Installation, one: Frozen, detail: str) -> str | None:
    """Note the look in the folder's chain of custody; None where the chain does not hold."""
    at, who = installation.clock(), installation.actor
    try:
        return append_custody(one.folder, at=at, who=who, act=Act.VIEWED, detail=detail).hash
    except Damaged:
        return None
