"""The backup witness: the newest recovery points, as earlier verifications saw them.

One line of canonical JSON a head, appended only. It lies outside the vault, best on another
machine: whoever rolls the vault back cannot roll it back too.

Rules
- A line that is no head is a finding, not an error: a broken witness stops no verification.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from backup.records import Finding, Head
from standfast.records import canonical, timestamp
from standfast.usecases.core.append_only_file import append_lines, whole_lines

_MEND = "mend the disk or backup.witness, then verify again"


def read_heads(witness: Path) -> tuple[tuple[Head, ...], tuple[Finding, ...]]:
    """Give the heads, oldest first, and a finding for each line that is none."""
    heads: list[Head] = []
    findings: list[Finding] = []
    for number, line in enumerate(whole_lines(witness, _MEND), 1):
        try:
            raw = json.loads(line)
            head = Head(
                writer=str(raw["writer"]),
                sequence=int(raw["sequence"]),
                sha256=str(raw["sha256"]),
            )
        except (ValueError, KeyError, TypeError):
            findings.append(
                Finding(
                    severity="error",
                    object=f"witness line {number}",
                    problem="it is not a head of a recovery point",
                    what_to_do="find out who changed the witness; restore it from a copy",
                )
            )
        else:
            heads.append(head)
    return tuple(heads), tuple(findings)


def append_heads(
    witness: Path, heads: Sequence[Head], known: Sequence[Head], now: datetime
) -> None:
    """Append, durably, the heads that are not known yet."""
    news = [head for head in heads if head not in known]
    if not news:
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
        for head in news
    ]
    append_lines(witness, lines, _MEND)
