"""The chain of custody: who did what with one sealed folder, and when.

Owns `custody.jsonl` beside the manifest. Leaves who may look, and the ledger's own event of it, to
operations.

Rules
- One line an act, appended and on disk before the act is reported; nothing is ever rewritten.
- Each line holds the hash of the one before, the first that of the seal: a changed, moved or
  removed line shows. Lines cut from the end do not show here; the ledger keeps the hash of the
  last one of each act of an incident, and those must be there.
- A chain that does not hold takes no more lines: somebody must look first.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Set
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from standfast.errors import Damaged
from standfast.evidence.durable_files import inherit_owner, sync_folder
from standfast.evidence.seal import CUSTODY_FILE as CUSTODY_FILE
from standfast.evidence.seal import SEAL_FILE
from standfast.records import canonical, digest, timestamp


class Act(StrEnum):
    """What was done with the evidence."""

    COLLECTED = "collected"
    VIEWED = "viewed"
    EXPORTED = "exported"
    TRANSFERRED = "transferred"
    STAMPED = "stamped"  # by a time stamp authority; `time_stamp` says what its detail has
    DISPOSED = "disposed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the chain."""

    sequence: int  # from 1
    at: str  # UTC, as `records.timestamp` writes it
    who: str
    act: Act
    detail: str
    previous: str  # hash of the line before; for the first, of the seal

    @property
    def hash(self) -> str:
        return digest(asdict(self))


def append_custody(folder: Path, *, at: datetime, who: str, act: Act, detail: str = "") -> Entry:
    """Add one entry to a sealed folder's chain, durably; safe among several processes.

    Raises Damaged when the folder has no seal, or the chain so far does not hold or is a link.
    """
    first = _seal_hash(folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(folder / CUSTODY_FILE, flags, 0o600)
    except OSError as error:
        raise Damaged(f"{CUSTODY_FILE} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        so_far = _read(stream.read(), first)
        entry = Entry(
            sequence=len(so_far) + 1,
            at=timestamp(at),
            who=who,
            act=act,
            detail=detail,
            previous=so_far[-1].hash if so_far else first,
        )
        stream.write(_written(entry) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
        if not so_far:
            inherit_owner(folder / CUSTODY_FILE)
            sync_folder(folder)
    return entry


def read_custody(folder: Path) -> list[Entry]:
    """Read the chain in order; raise Damaged naming the first line that does not hold."""
    first = _seal_hash(folder)
    try:
        return _read((folder / CUSTODY_FILE).read_bytes(), first)
    except OSError as error:
        raise Damaged(f"{CUSTODY_FILE} cannot be read: {error.strerror}") from error


def verify_custody(folder: Path, known: Set[str] = frozenset()) -> list[str]:
    """Give what is wrong with the chain; nothing when it holds.

    `known` has hashes of lines that are in it.
    """
    try:
        entries = read_custody(folder)
    except Damaged as damage:
        return [str(damage)]
    if not entries:
        return [f"{CUSTODY_FILE} has no entry: who collected this is not known"]
    if known - {entry.hash for entry in entries}:
        return [f"{CUSTODY_FILE} lacks what the ledger has as its line: it was cut, or made anew"]
    return []


def _seal_hash(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / SEAL_FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise Damaged(f"{SEAL_FILE} cannot be read: {error.strerror}") from error


def _written(entry: Entry) -> bytes:
    return canonical({**asdict(entry), "hash": entry.hash})


def _read(raw: bytes, previous: str) -> list[Entry]:
    if raw and not raw.endswith(b"\n"):
        raise Damaged(f"{CUSTODY_FILE} ends within a line; look at it before you go on")
    entries: list[Entry] = []
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            body = json.loads(line)
            written_hash = body.pop("hash")
            entry = Entry(**{**body, "act": Act(body["act"])})
            holds = (
                (entry.sequence, entry.previous, entry.hash) == (number, previous, written_hash)
                and line == _written(entry)
            )  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Damaged(f"{CUSTODY_FILE}:{number}: cannot be read as an entry") from error
        if not holds:
            raise Damaged(f"{CUSTODY_FILE}:{number}: does not follow from the line before")
        entries.append(entry)
        previous = entry.hash
    return entries
