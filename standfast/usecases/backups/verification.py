"""Verification of the repository, and the damage that is still open.

The repository is the content of the vault, the folder or bucket with the encrypted backups. A
recovery point is the state of a backup set that one backup stored. Its content is in packs,
encrypted files of the vault. The checks themselves are in `backup/checker/verification.py`.

Rules
- If a verification proves that all recovery points are genuine, their newest sequence numbers are
  appended to the witness, a file outside the vault. The next verification compares the vault with
  the witness, and so detects a rollback (an earlier state of the vault in place of the newest).
- Damage stays open until a later verification examines the damaged part and finds no damage. For
  example, damage in the bytes of a pack stays open after a verification that only compares lists of
  objects, or that reads only other packs.
- If the last check of Object Lock periods found no fault, the next check examines the objects that
  are newer than the last check, and a changing part of the older objects. Otherwise it examines all
  objects. The time of the last check comes from the ledger (the database of runs), not from the
  vault.
- If the ledger has runs with several vaults, findings about other vaults are ignored.
- Without a ledger, a verification still runs, but its result is partial at best, because earlier
  findings are unknown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from backup.checker.sampling import DAMAGE, Sample, smallest_sample
from backup.checker.verification import verify as verify_repository
from backup.records import Finding, VerifyReport
from standfast.continuity.clock_skew import newest_first
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.ledger.runs.run_record import RunRecord
from standfast.records import Json, timestamp
from standfast.usecases.backups.backup_run import Report
from standfast.usecases.backups.damaged_packs import (
    DamagedPacks,
    damaged_packs,
    damaged_packs_as_json,
)
from standfast.usecases.core.backup_repository import (
    check_identity,
    identity_of,
    keys_of,
    owner_of,
    translated_errors,
    vault_of,
)
from standfast.usecases.core.backup_witness import append_heads, read_heads
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
from standfast.usecases.core.run_record import recorded_if_possible

VAULT = "vault"  # the subject of a verification in the ledger
_CONFIDENCE = 0.99

_OF_A_PACK = re.compile(r"w/[^/]+/p/")


@dataclass(frozen=True, kw_only=True)
class OpenDamage:
    """Damage that no later verification has cleared."""

    found_at: datetime
    depths: tuple[str, ...]  # kinds of check: "looking" (lists), "reading", "opening" (decrypting)
    errors: int

    @property
    def sentence(self) -> str:
        """Return the description for people, with the action."""
        how = "opened with an identity" if "opening" in self.depths else "read"
        command = "verify --read --identity FILE" if "opening" in self.depths else "verify --read"
        return (
            f"damage found when the vault was {how}, on {self.found_at:%Y-%m-%d %H:%M}Z, was not "
            f"checked again: run `standfast backup {command}` to check it again"
        )

    def as_json(self) -> dict[str, Json]:
        return {
            "found_at": timestamp(self.found_at),
            "depths": list(self.depths),
            "errors": self.errors,
        }


@dataclass(frozen=True, kw_only=True)
class VerifyOutcome:
    """The outcome of a verification, with the findings about the witness."""

    run: str
    report: VerifyReport
    findings: tuple[Finding, ...]
    open_damage: OpenDamage | None  # damage of earlier verifications that this one did not clear
    is_read: bool  # every byte was read
    is_keyed: bool  # content was also decrypted: all of it, or a sample
    is_write_only: bool  # this host can only add to the vault
    why_write_only: str
    ledger_problem: str = ""  # the error of the ledger or of the witness, or ""
    is_ledger_damaged: bool = False  # True if `ledger_problem` is about a damaged ledger

    @property
    def is_sound(self) -> bool:
        """True if this verification has no finding of severity `error`."""
        return all(finding.severity != "error" for finding in self.findings)

    @property
    def is_history_sound(self) -> bool:
        """True if all recovery points are genuine; packs may be damaged."""
        return not any(
            finding.severity == "error"
            and finding.depth == "looking"
            and not _OF_A_PACK.match(finding.object)
            for finding in self.findings
        )

    @property
    def exit_status(self) -> ExitStatus:
        if not self.is_sound or self.open_damage is not None or self.is_ledger_damaged:
            return ExitStatus.DAMAGED
        locks = self.report.locks
        is_short = bool(self.ledger_problem) or (locks is not None and locks.wrong)
        return ExitStatus.PARTIAL if is_short else ExitStatus.DONE

    def summary(self) -> dict[str, Json]:
        """Return the part for the ledger."""
        return {
            "points": self.report.points,
            "packs": self.report.packs,
            "bytes_read": self.report.bytes_read,
            "errors": sum(finding.severity == "error" for finding in self.findings),
            "warnings": sum(finding.severity == "warning" for finding in self.findings),
            "is_read": self.is_read,
            "is_keyed": self.is_keyed,
            "sampled": 0 if self.report.sampled is None else self.report.sampled.pieces,
            "saw": list(self.report.saw),
            "found": sorted({f.depth for f in self.findings if f.severity == "error"}),
            "open_damage": None if self.open_damage is None else self.open_damage.as_json(),
            "locks": self._locks(),
            **damaged_packs_as_json(self.report.damaged_packs),
        }

    def _locks(self) -> dict[str, Json] | None:
        locks = self.report.locks
        if locks is None:
            return None
        return {
            "objects": locks.objects,
            "looked_at": locks.looked_at,
            "wrong": locks.wrong,
            "unknown": locks.unknown,
            "is_right": locks.is_right,
        }

    def as_json(self) -> dict[str, Json]:
        return {
            "run": self.run,
            **self.summary(),
            "findings": [
                {
                    "severity": finding.severity,
                    "object": finding.object,
                    "problem": finding.problem,
                    "what_to_do": finding.what_to_do,
                    "depth": finding.depth,
                }
                for finding in self.findings
            ],
            "damaged_packs": list(self.report.damaged_packs),
            "sample": None if self.report.sampled is None else self.report.sampled.sentence,
            "is_write_only": self.is_write_only,
            "why_write_only": self.why_write_only,
            "heads": [
                {"writer": head.writer, "sequence": head.sequence, "sha256": head.sha256}
                for head in self.report.heads
            ],
            "unrecorded": self.ledger_problem,
            "exit_status": int(self.exit_status),
        }


def sample_of(pieces: int | None, confidence: float | None, damage: float | None) -> Sample | None:
    """Return the requested sample or None; UsageError if options conflict."""
    if pieces is None and confidence is None and damage is None:
        return None
    if pieces is not None and confidence is not None:
        raise UsageError("--sample: not allowed together with --confidence. Use only one of them.")
    share = DAMAGE if damage is None else damage
    with translated_errors("choosing a sample"):
        if pieces is not None:
            return Sample(pieces=pieces, damage=share)
        return smallest_sample(_CONFIDENCE if confidence is None else confidence, share)


def verify(
    installation: Installation,
    read: bool = False,
    identity_file: Path | None = None,
    progress: Report | None = None,
    *,
    sample: Sample | None = None,
    way: str = "direct",
) -> VerifyOutcome:
    """Verify the repository.

    With `read`, every byte is read. With an identity (a private key), the content is also
    decrypted. With `sample`, only the random chunks of the sample are decrypted; the identity then
    comes from the file or from `drills.identity`. Problems are findings, not exceptions. An
    identity of another repository raises `UsageError`.
    """
    is_keyed = identity_file is not None or sample is not None
    identity = identity_of(installation, identity_file) if is_keyed else None
    owner = owner_of(installation)
    check_identity(identity, owner)
    with (
        recorded_if_possible(installation, "verify", VAULT, way) as run,
        translated_errors("verifying the repository"),
    ):
        witness, witness_findings = read_heads(installation.config.backup.witness)
        vault = vault_of(installation)
        runs: Sequence[RunRecord] = ()
        known = DamagedPacks()
        try:
            runs = verifications(installation)
            known = damaged_packs(installation)
        except StandfastError as error:
            run.record_unavailability(error)
        report = verify_repository(
            vault,
            keys=keys_of(installation),
            identity=identity,
            read=read,
            sample=sample,
            witness=witness,
            owner=owner,
            locks_right_at=locks_right_at(runs),
            distrusted=known.packs,
            progress=progress,
            now=installation.clock,
        )
        traits = vault.describe()
        outcome = VerifyOutcome(
            run=run.token,
            report=report,
            findings=(*witness_findings, *report.findings),
            open_damage=open_damage(runs, report.saw),
            is_read=read,
            is_keyed=is_keyed,
            is_write_only=traits.is_write_only,
            why_write_only=traits.why,
        )
        # Append to the witness even if a pack is damaged. Otherwise an attacker could damage a
        # pack, and then roll back recovery points without detection.
        if outcome.is_history_sound:
            try:
                append_heads(
                    installation.config.backup.witness, report.heads, witness, installation.clock()
                )
            except StandfastError as error:  # such as a full disk; the findings are still reported
                run.record_unavailability(error)
        is_damaged = outcome.exit_status is ExitStatus.DAMAGED
        run.ends("failed" if is_damaged else "done", outcome.summary())
    return replace(
        outcome, ledger_problem=run.ledger_problem, is_ledger_damaged=run.is_ledger_damaged
    )


def locks_right_at(runs: Sequence[RunRecord]) -> datetime | None:
    """Return the start of the newest lock check; None if it found a fault.

    `runs` are newest first.
    """
    last = next((run for run in runs if run.summary.get("locks")), None)
    return last.started_at if last is not None and last.summary["locks"]["is_right"] else None


def are_retention_locks_wrong(runs: Sequence[RunRecord]) -> bool:
    """Return whether the newest conclusive check of locks found a wrong lock.

    A check that found no wrong lock and could not read some locks is not conclusive. `runs` are
    newest first.
    """
    seen = (locks for run in runs if (locks := run.summary.get("locks")))
    return next(
        (bool(locks["wrong"]) for locks in seen if locks["wrong"] or locks["is_right"]), False
    )


def is_vault_damaged(installation: Installation) -> bool:
    """Return whether a verification or a later backup found damage.

    Ignore damage that a later verification cleared.
    """
    runs = verifications(installation)
    if open_damage(runs) is not None:
        return True
    looked_at = next((run.started_at for run in runs if run.summary.get("saw")), None)
    return any(
        (run.summary.get("is_store_damaged") or run.summary.get("is_key_missing"))
        and (looked_at is None or run.started_at > looked_at)
        for run in runs_of_vault(
            installation.config, installation.ledger.runs.all("backup", states=["partial"])
        )
    )


def verifications(installation: Installation) -> list[RunRecord]:
    """Return the verifications of this vault by any host, newest first."""
    runs = runs_of_vault(installation.config, installation.ledger.runs.all("verify", VAULT))
    return newest_first(runs, installation.clock())


def open_damage(runs: Sequence[RunRecord], cleared: Sequence[str] = ()) -> OpenDamage | None:
    """Return the newest damage that no later verification cleared.

    `runs` are newest first. `cleared` are the depths that the current verification covers.
    """
    gone = set(cleared)
    for run in runs:
        found = set(run.summary.get("found", ()))
        if uncleared := found - gone:
            return OpenDamage(
                found_at=run.started_at,
                depths=tuple(sorted(uncleared)),
                errors=int(run.summary.get("errors", 0)),
            )
        gone.update(set(run.summary.get("saw", ())) - found)
    return None
