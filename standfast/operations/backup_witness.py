"""The backup witness: the newest recovery points, as earlier verifications saw them.

One line of canonical JSON a head, appended only. It lies outside the vault, best on another
machine: whoever rolls the vault back cannot roll it back too.

Rules
- A last line without its end was cut by a crash; it never counted, and the next append replaces it.
- Any other line that is no head is a finding, not an error: a broken witness stops no verification.
"""

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from backup.records import Finding, Head
from standfast.errors import StandfastError
from standfast.records import canonical, timestamp


def read_heads(witness: Path) -> tuple[tuple[Head, ...], tuple[Finding, ...]]:
    """Give the heads, oldest first, and a finding for each line that is none."""
    heads: list[Head] = []
    findings: list[Finding] = []
    for number, line in enumerate(_whole_lines(witness), 1):
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
    whole = b"".join(line + b"\n" for line in _whole_lines(witness))
    lines = b"".join(
        canonical(
            {
                "writer": head.writer,
                "sequence": head.sequence,
                "sha256": head.sha256,
                "at": timestamp(now),
            }
        )
        + b"\n"
        for head in news
    )
    try:
        witness.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(witness, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, len(whole))
            os.pwrite(descriptor, lines, len(whole))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StandfastError(
            f"the backup witness {witness} cannot be written: {error.strerror}; mend the disk or "
            "backup.witness, then verify again"
        ) from error


def _whole_lines(witness: Path) -> list[bytes]:
    try:
        return witness.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StandfastError(
            f"the backup witness {witness} cannot be read: {error.strerror}; mend the disk or "
            "backup.witness, then verify again"
        ) from error
