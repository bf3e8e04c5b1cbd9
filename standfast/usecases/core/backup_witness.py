"""Backup witness: recovery points that earlier verifications found.

A recovery point is one restorable state of a backup set. A head names the newest recovery point of
a writer (a backup host) by its sequence number and hash.
The witness is an append-only file with one line of canonical JSON for each head. It is stored
outside the vault (the store of the backups), best on another machine. If an attacker resets the
vault to an earlier state, the vault lacks a recovery point of the witness, and a verification
reports this.

Rules
- An invalid line is a finding of the verification and not an error, because a damaged witness must
  not prevent a verification.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from backup.records import Finding, Head
from standfast.records import canonical, timestamp
from standfast.usecases.core.append_only_file import append_lines, whole_lines

_ACTION = "Repair the disk or correct backup.witness, then verify again"


def read_heads(witness: Path) -> tuple[tuple[Head, ...], tuple[Finding, ...]]:
    """Return the heads, oldest first, and a finding for each invalid line."""
    heads: list[Head] = []
    findings: list[Finding] = []
    for number, line in enumerate(whole_lines(witness, _ACTION), 1):
        try:
            raw = json.loads(line)
            head = Head(
                writer=str(raw["writer"]), sequence=int(raw["sequence"]), sha256=str(raw["sha256"])
            )
        except (ValueError, KeyError, TypeError):
            findings.append(
                Finding(
                    severity="error",
                    object=f"witness line {number}",
                    problem="it does not name a recovery point",
                    what_to_do="find out who changed the witness; restore it from a copy",
                )
            )
        else:
            heads.append(head)
    return tuple(heads), tuple(findings)


def append_heads(
    witness: Path, heads: Sequence[Head], known: Sequence[Head], now: datetime
) -> None:
    """Append the heads that are not in `known`, and write them to the disk."""
    new_heads = [head for head in heads if head not in known]
    if not new_heads:
        return
    lines = [
        canonical(
            {
                "writer": head.writer,
                "sequence": head.sequence,
                "sha256": head.sha256,
                "at": timestamp(now),
            }
        )
        for head in new_heads
    ]
    append_lines(witness, lines, _ACTION)
