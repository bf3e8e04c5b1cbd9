"""Review of evidence by a playbook: search for indicators and accounts.

An indicator is a trace of an intruder, such as an address. The module `log_review` contains the
review of logs by a person.

Rules
- If the seal (signed manifest) or the chain of custody of a folder is invalid, the folder is
  reported and not searched. The same is true of a file that differs from its hash. In both cases
  the review has failed, and its timeline has the results of the remaining evidence.
- Encrypted evidence is not searched, because a playbook has no key to decrypt it.
- Before a folder is searched, its chain of custody gets a line with the person and the reason.
- The timeline of a review is a file next to the evidence, with one entry on each line. The entries
  name people. Therefore the ledger (the installation's database) has only the hash of the file and
  the counts.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, StandfastError
from standfast.evidence.custody import Act, append_custody
from standfast.evidence.private_files import make_private, write_atomically
from standfast.evidence.review.indicator_timeline import Review, review, too_short, wanted_of
from standfast.evidence.seal import read_sealed
from standfast.playbook.actions.evidence_review import NEEDS_CUSTODIAN
from standfast.plurals import counted
from standfast.records import JsonObject, canonical
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import Frozen, frozen

REVIEWS = "reviews"
_NAMED = 5  # number of altered files in the result's text


@dataclass(frozen=True, kw_only=True)
class ReviewResult:
    """The result of a review, and the hash of its timeline file."""

    timeline: Path
    digest: str
    result: Review
    folders: int
    unsound: tuple[str, ...]  # sources with an invalid seal or chain of custody
    too_short: int  # number of accounts that were not searched because their name is too short
    noted: Mapping[str, str]  # by SOURCE/TOKEN: the hash of the line in the chain of custody

    @property
    def reason(self) -> str:
        """The result in words."""
        found = len(self.result.entries) + self.result.left_out
        parts = [f"{found} entries from {self.result.files} files of {self.folders} folders"]
        if self.result.left_out:
            parts.append(f"{self.result.left_out} of them not kept")
        if self.result.unread:
            parts.append(f"{self.result.unread} files could not be read")
        if self.too_short:
            accounts = counted(self.too_short, "account")
            parts.append(f"{accounts} not searched, because the name is too short")
        if altered := self.result.altered:
            copies = counted(len(altered), "copy is", "copies are")
            more = "; `standfast evidence verify` names all" if len(altered) > _NAMED else ""
            named = ", ".join(altered[:_NAMED])
            parts.append(f"{copies} altered and omitted: {named}{more}")
        if self.unsound:
            parts.append(
                "not scanned, because seal or chain of custody is invalid: "
                f"{', '.join(self.unsound)}"
            )
        return "; ".join(parts)

    @property
    def is_whole(self) -> bool:
        """Return whether all evidence was valid, and was therefore searched."""
        return not (self.unsound or self.result.altered)

    def as_json(self) -> JsonObject:
        """Return the JSON form that the ledger stores."""
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
    """Search an incident's evidence; StandfastError if none can be searched."""
    wanted = wanted_of(indicators, accounts)
    detail = f"reviewed for {counted(len(indicators) + len(accounts), 'indicator')}"
    folders = [
        evidence
        for evidence in frozen(installation.config, incident_id)
        if not evidence.disposed_at
    ]
    key = read_signing_key(installation.config.custody.key).public_key()
    manifests = {
        evidence.folder: read_sealed(evidence.folder, key)
        for evidence in folders
        if not evidence.problems
    }
    if any(manifest.encryption for manifest in manifests.values()):
        raise StandfastError(f"evidence of {incident_id}: {NEEDS_CUSTODIAN}")
    notes = {
        evidence.folder: line
        for evidence in folders
        if not evidence.problems and (line := _noted(installation, evidence, detail)) is not None
    }
    valid = [evidence for evidence in folders if evidence.folder in notes]
    if not valid:
        raise StandfastError(
            f"evidence of {incident_id}: no folder is valid. Freeze the evidence first, and run "
            f"`standfast evidence verify {incident_id}`."
        )
    found = review([(evidence.folder, manifests[evidence.folder]) for evidence in valid], wanted)
    folder = installation.config.custody.folder / incident_id / REVIEWS
    make_private(folder)
    timeline = folder / f"{token}.jsonl"
    content = b"".join(canonical(entry.as_json()) + b"\n" for entry in found.in_order())
    write_atomically(timeline, content)
    return ReviewResult(
        timeline=Path(os.path.relpath(timeline, installation.config.custody.folder)),
        digest=hashlib.sha256(content).hexdigest(),
        result=found,
        folders=len(valid),
        too_short=too_short(accounts),
        noted={
            f"{evidence.source}/{evidence.folder.name}": notes[evidence.folder]
            for evidence in valid
        },
        unsound=tuple(
            dict.fromkeys(evidence.source for evidence in folders if evidence not in valid)
        ),
    )


def _noted(installation: Installation, evidence: Frozen, detail: str) -> str | None:
    """Record the access in the chain of custody; None if the chain is invalid."""
    at, actor = installation.clock(), installation.actor
    try:
        return append_custody(evidence.folder, at=at, who=actor, act=Act.VIEWED, detail=detail).hash
    except Damaged:
        return None
