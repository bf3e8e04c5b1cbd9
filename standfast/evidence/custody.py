"""Chain of custody `custody.jsonl`: acts on a sealed folder, each hashed.

A sealed folder contains evidence, its manifest, and a seal (signature over the manifest). The chain
is a file in this folder. Each line has the actor and the time of an act. `standfast.usecases`
decides which people may read evidence, and also records each act in the ledger (the installation's
database).

Rules
- Each act is one line. The line is appended and written to the disk before the act is reported. No
  line is ever rewritten.
- Each line contains the hash of the line before it, and the first line contains the hash of the
  seal. Thus a changed, moved or removed line is detected, except at the end. To detect a missing
  end, the ledger records the hashes of lines, and the chain must contain these hashes.
- No line is added to a chain that does not verify. A person must examine it first.
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
from standfast.evidence.private_files import inherit_owner, sync_folder
from standfast.evidence.seal import CUSTODY_FILE as CUSTODY_FILE
from standfast.evidence.seal import SEAL_FILE
from standfast.records import canonical, digest, timestamp


class Act(StrEnum):
    """One kind of act on the evidence."""

    COLLECTED = "collected"
    VIEWED = "viewed"
    EXPORTED = "exported"
    TRANSFERRED = "transferred"
    STAMPED = "stamped"  # a time stamp was obtained; `time_stamp_file` defines the detail
    DISPOSED = "disposed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the chain."""

    sequence: int  # from 1
    at: str  # UTC, as `records.timestamp` writes it
    who: str
    act: Act
    detail: str
    previous: str  # hash of the line before; in the first line, hash of the seal

    @property
    def hash(self) -> str:
        return digest(asdict(self))


def append_custody(folder: Path, *, at: datetime, who: str, act: Act, detail: str = "") -> Entry:
    """Append one line, and write it to the disk.

    A lock lets concurrent processes append one after another. Raise Damaged if the folder has no
    seal, or if the chain is a link or does not verify. Raise OSError if the line cannot be written,
    for example on a full disk; the chain is then unchanged.
    """
    first = _seal_hash(folder)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(folder / CUSTODY_FILE, flags, 0o600)
    except OSError as error:
        raise Damaged(f"{CUSTODY_FILE} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        raw = stream.read()
        so_far = _read(raw, first)
        entry = Entry(
            sequence=len(so_far) + 1,
            at=timestamp(at),
            who=who,
            act=act,
            detail=detail,
            previous=so_far[-1].hash if so_far else first,
        )
        try:
            _append(descriptor, _encode_entry(entry) + b"\n")
        except OSError:
            os.ftruncate(descriptor, len(raw))
            raise
        if not so_far:
            inherit_owner(folder / CUSTODY_FILE)
            sync_folder(folder)
    return entry


def _append(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]
    os.fsync(descriptor)


def read_custody(folder: Path) -> list[Entry]:
    """Return the entries in order; Damaged names the first invalid line."""
    first = _seal_hash(folder)
    try:
        return _read((folder / CUSTODY_FILE).read_bytes(), first)
    except OSError as error:
        raise Damaged(f"{CUSTODY_FILE} cannot be read: {error.strerror}") from error


def verify_custody(folder: Path, known: Set[str] = frozenset()) -> list[str]:
    """Return the problems of the chain, such as a missing hash of `known`."""
    try:
        entries = read_custody(folder)
    except Damaged as damage:
        return [str(damage)]
    if not entries:
        return [f"{CUSTODY_FILE} has no entry: who collected this is not known"]
    if known - {entry.hash for entry in entries}:
        return [f"{CUSTODY_FILE} lacks a line that the ledger records: it was cut or replaced"]
    return []


def _seal_hash(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / SEAL_FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise Damaged(f"{SEAL_FILE} cannot be read: {error.strerror}") from error


def _encode_entry(entry: Entry) -> bytes:
    return canonical({**asdict(entry), "hash": entry.hash})


def _read(raw: bytes, previous: str) -> list[Entry]:
    if raw and not raw.endswith(b"\n"):
        raise Damaged(f"{CUSTODY_FILE}: it ends within a line. Examine it first.")
    entries: list[Entry] = []
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        try:
            body = json.loads(line)
            written_hash = body.pop("hash")
            entry = Entry(**{**body, "act": Act(body["act"])})
            holds = (
                (entry.sequence, entry.previous, entry.hash) == (number, previous, written_hash)
                and line == _encode_entry(entry)
            )  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Damaged(f"{CUSTODY_FILE}:{number}: cannot be read as an entry") from error
        if not holds:
            raise Damaged(f"{CUSTODY_FILE}:{number}: does not follow from the line before")
        entries.append(entry)
        previous = entry.hash
    return entries
