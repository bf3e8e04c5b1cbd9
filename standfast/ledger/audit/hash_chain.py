"""Hash chain: hashes, heads, witness; refusal of keys of another ledger.

Each change of the ledger (the database) adds an audit event, which contains the hash of the event
before it. A head is the signed number and hash of the event that was the newest at the time of
signing. The witness is a file with a copy of the heads, preferably on another machine. This module
reads and writes no table and imports no SQLAlchemy. `transaction`, `auditor` and
`sqlite_run_writer` read and write the tables.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from json.encoder import encode_basestring as _string
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from standfast.errors import ConfigurationError, Damaged
from standfast.ledger.schema.added_columns import ADDED_COLUMNS
from standfast.ledger.schema.column_encryption import ColumnCipher
from standfast.records import Json, JsonObject, canonical, digest, timestamp

GENESIS = "0" * 64
HEAD_PARSE_ERRORS = (ValueError, KeyError, TypeError, RecursionError)
_HEAD_CONTEXT = b"standfast audit head v1\n"
_ROW_DIGEST_HEX = 32
_TAIL_BYTES = 4096
_Read = TypeVar("_Read")
_EVENT = ("sequence", "at", "actor", "subject", "action", "detail", "changes", "previous")


def digest_of_row(table: str, names: Sequence[str], values: Iterable[Any]) -> str:
    """Return the digest of a stored row: names and values, in order.

    A column that a migration added is left out while its value is NULL.
    """
    if added := ADDED_COLUMNS.get(table):
        counted = [
            (name, value)
            for name, value in zip(names, values, strict=True)
            if value is not None or name not in added
        ]
        names, values = [name for name, _ in counted], [value for _, value in counted]
    # The JSON text is built here, because `canonical` would take longer than the hash, and a notice
    # to a million people needs three million digests. `surrogatepass` is needed because
    # `reading_undecoded` turns a byte that is not UTF-8 into a lone surrogate.
    body = ",".join(
        [
            f"{begin}{_JSON_OF.get(type(value), _encode_other)(value)}]"
            for begin, value in zip(_begins(tuple(names)), values, strict=True)
        ]
    )
    whole = f"[{body}]".encode(errors="surrogatepass")
    return hashlib.sha256(whole).hexdigest()[:_ROW_DIGEST_HEX]


@cache
def _begins(names: tuple[str, ...]) -> list[str]:
    return [f"[{_string(name)}," for name in names]


def _encode_other(value: Any) -> str:
    """Encode a value with a type that no column of the schema has."""
    return f"[{_string(type(value).__name__)},{_string(repr(value))}]"


_JSON_OF: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    str: _string,
    bytes: lambda value: f'["{value.hex()}"]',  # a list, to differ from text
    int: str,
    bool: lambda value: str(int(value)),  # SQLite stores true as 1
}


def event_hash(event: JsonObject) -> str:
    """Return the SHA-256 of an event's canonical form."""
    return digest(event)


def next_event(
    tail: tuple[int, str] | None,
    *,
    at: datetime,
    actor: str,
    subject: str,
    action: str,
    detail: JsonObject,
    changes: JsonObject,
) -> dict[str, Json]:
    """Return the event that follows `tail` (sequence, hash), without a seal."""
    sequence, previous = tail or (0, GENESIS)
    event: dict[str, Json] = {
        "sequence": sequence + 1,
        "at": timestamp(at),
        "actor": actor,
        "subject": subject,
        "action": action,
        "detail": canonical(detail).decode(),
        "changes": canonical(changes).decode(),
        "previous": previous,
    }
    return {**event, "hash": event_hash(event)}


def refuse_other_keys(
    seal_of_event: Callable[[str], str],
    tail: tuple[str, str],
    first: Callable[[], tuple[str, str] | None],
) -> None:
    """Raise ConfigurationError if the keys belong to another database.

    `tail` is the hash and seal (MAC) of the newest event; `first` returns those of the oldest
    event. The keys belong to another database if neither seal matches. If only one of the seals
    does not match, its event was manipulated: writing continues, and a verification reports the
    event.
    """
    hash_, seal = tail
    if seal == seal_of_event(hash_):
        return
    found = first()
    if found is None or found[1] != seal_of_event(found[0]):
        raise ConfigurationError(
            "ledger.keys: these are not the keys of this ledger. Nothing was written. Name the "
            "folder that all hosts of this ledger share, or restore its keys. If these are its "
            "keys, the ledger was changed: run `standfast audit verify`."
        )


class Chain:
    """The verification of events and heads, and the witness file."""

    def __init__(self, cipher: ColumnCipher, witness: Path) -> None:
        self._cipher = cipher
        self._witness = witness
        self._key = cipher.signing_key()
        self._public = self._key.public_key().public_bytes_raw().hex()

    def problem_of_event(self, event: Mapping[str, Any], previous: str) -> str:
        """Return what is wrong with an event, or "".

        `previous` is the hash of the event before it.
        """
        try:
            if event["hash"] != event_hash({name: event[name] for name in _EVENT}):
                return "changed, its hash differs"
            if event["seal"] != self._cipher.seal_of_event(event["hash"]):
                return "not written by this ledger, its seal differs"
        except ValueError:
            return "changed, a value has another type"
        if event["previous"] != previous:
            return "not linked to the event before it"
        return ""

    def problem_of_head(self, head: Mapping[str, Any], hashes: Mapping[int, str]) -> str:
        """Return what is wrong with a head, or "".

        `hashes` are the hashes of events by sequence.
        """
        if head["sequence"] not in hashes:
            return f"its event {head['sequence']} is missing, the ledger was rolled back"
        if hashes[head["sequence"]] != head["hash"]:
            return f"event {head['sequence']} is not the event that was signed"
        if head["key"] != self._public:
            return "signed by another key"
        body: dict[str, Json] = {
            "sequence": head["sequence"],
            "hash": head["hash"],
            "signed_at": head["signed_at"],
        }
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self._public)).verify(
                bytes.fromhex(head["signature"]), _HEAD_CONTEXT + canonical(body)
            )
        except (InvalidSignature, ValueError, TypeError):
            return "its signature does not verify"
        return ""

    def verified_start(
        self, head: Mapping[str, Any] | None, hashes: Mapping[int, str]
    ) -> tuple[int, str]:
        """Return the (sequence, hash) of a signed head; Damaged if it is forged.

        Without a head, return the start of the chain.
        """
        if head is None:
            return 0, GENESIS
        problem = self.problem_of_head(head, hashes)
        if problem:
            raise Damaged(
                f"head {head['sequence']} of the ledger: {problem}. Nothing was signed. Run "
                "`standfast audit verify`."
            )
        return head["sequence"], head["hash"]

    def verified_end(
        self, start: tuple[int, str], events: Iterable[Mapping[str, Any]]
    ) -> tuple[int, str]:
        """Verify the events after a head; return the newest (sequence, hash)."""
        sequence, previous = start
        for event in events:
            if event["sequence"] != sequence + 1 or self.problem_of_event(event, previous):
                raise Damaged(
                    f"event {event['sequence']} of the ledger: does not follow the event before "
                    "it. Nothing was signed. Run `standfast audit verify`."
                )
            sequence, previous = event["sequence"], event["hash"]
        return sequence, previous

    def head(self, sequence: int, hash_: str, now: datetime) -> dict[str, Json]:
        """Return a signed head as a row of the table `audit_head`."""
        head: dict[str, Json] = {"sequence": sequence, "hash": hash_, "signed_at": timestamp(now)}
        signature = self._key.sign(_HEAD_CONTEXT + canonical(head)).hex()
        return {**head, "key": self._public, "signature": signature}

    def witness_lines(self) -> list[bytes]:
        """Return the complete lines of the witness, without a cut last line."""
        try:
            return self._witness.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationError(
                f"witness {self._witness}: cannot be read, {error.strerror}. Check its path and "
                "mode."
            ) from None

    def witnessed_sequences(self, sequences: Mapping[bytes, int]) -> set[int]:
        """Return the event numbers of the witness's heads, unverified.

        `sequences` maps the lines of the ledger's valid heads to their event numbers, so that only
        other lines must be parsed.
        """
        return {sequences.get(line) or _sequence_of(line) for line in self.witness_lines()}

    def refuse_rolled_back(self, hash_at: Callable[[int], str | None]) -> None:
        """Raise Damaged if the ledger lacks the newest head of the witness.

        `hash_at` returns the hash of the event with a given sequence, or None. An unreadable
        witness is ignored here, because the signing of a head reports it.
        """
        head = self._newest_witnessed()
        if head is not None and hash_at(head["sequence"]) != head["hash"]:
            raise Damaged(
                f"event {head['sequence']} of the ledger: differs from the witness "
                f"{self._witness}, so the ledger was rolled back to an older copy, or rewritten. "
                "Nothing was done. Restore the newer copy. If it is lost, rename the witness, "
                "keep it, and run this again: this ledger lacks all later events."
            )

    def _newest_witnessed(self) -> Mapping[str, Any] | None:
        """Return the last head in the witness that this ledger's key signed."""
        try:
            descriptor = os.open(self._witness, os.O_RDONLY)
            try:
                return _read_last_line(descriptor, self._parse_own_head)[1]
            finally:
                os.close(descriptor)
        except OSError:
            return None

    def _parse_own_head(self, line: bytes) -> Mapping[str, Any] | None:
        """Return a witness line as a head; None for another ledger's line."""
        try:
            head = json.loads(line)
            is_own = not self.problem_of_head(head, {head["sequence"]: head["hash"]})
        except HEAD_PARSE_ERRORS:
            return None
        return head if is_own else None

    def send_to_witness(self, heads_after: Callable[[int], Sequence[JsonObject]]) -> None:
        """Append the heads that the witness does not have yet."""
        try:
            self._witness.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._witness, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"witness {self._witness}: cannot be written, {error.strerror}. The head is in the "
                "ledger, and the next signing sends it again."
            ) from None
        try:
            # Wait until another process has written its line.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end, known = _read_last_line(descriptor, _sequence_of)
            news = heads_after(known or 0)
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, 0, os.SEEK_END)
            os.write(descriptor, b"".join(line_of(head) + b"\n" for head in news))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def line_of(head: JsonObject) -> bytes:
    """Return a head as a line of the witness, without the newline."""
    return canonical(head)


def _read_last_line(
    descriptor: int, read: Callable[[bytes], _Read | None]
) -> tuple[int, _Read | None]:
    """Return the end of the complete lines, and the content of the last one.

    The content is the result of `read` for the last line that `read` accepts, or None. Only the end
    of the file is read: the lines of one year have tens of megabytes.
    """
    length = os.lseek(descriptor, 0, os.SEEK_END)
    looked = _TAIL_BYTES
    while True:
        start = max(0, length - looked)
        lines = os.pread(descriptor, length - start, start).split(b"\n")
        torn = lines.pop()
        if start:
            del lines[:1]  # the first line may be incomplete
        known = next((head for line in reversed(lines) if (head := read(line))), None)
        if known or not start:
            return length - len(torn), known
        looked *= 8


def _sequence_of(line: bytes) -> int:
    try:
        sequence = json.loads(line)["sequence"]
        return sequence if type(sequence) is int else 0
    except HEAD_PARSE_ERRORS:
        return 0  # a verification reports it
