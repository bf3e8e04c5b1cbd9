#!/usr/bin/env python3
"""Verify evidence that Standfast froze, offline and without Standfast.

You need Python 3.11 or newer, this file, and:
    python3 -m venv look && look/bin/pip install cryptography
    look/bin/python standfast_verify.py FOLDER --seal-key HEX --timeline FILE --ledger-key HEX
FOLDER contains the evidence of an incident (as SOURCE/TOKEN), or is one sealed folder of an
incident. --timeline FILE is the timeline that `standfast audit export` wrote. Each key has 64 hex
digits. Obtain the keys over another channel than the evidence, for example from a printed report.
--witness FILE compares the timeline with the signed heads that a witness received. --stamp-roots
FILE verifies time stamps: FILE contains the root certificates (PEM) of the authorities; the package
rfc3161-client is needed. --identity FILE decrypts encrypted items: FILE has a custodian's age key;
pyrage is needed.
Nothing is changed and no link is followed. The report names every difference, and every check that
was not possible. docs/evidence.md describes all formats.
Exit status: 0 no difference, all checks made; 2 wrong use; 3 no difference, some checks were not
possible; 6 something differs.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import stat
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID

MANIFEST, SEAL, CUSTODY, FILES = "manifest.json", "seal.dsse.json", "custody.jsonl", "files"
STAMP, WRAPPED, DISPOSAL = "seal.tsr", "key.age", "disposal.dsse.json"
FORMATS = ("standfast-evidence/1", "standfast-evidence/2")
SEGMENT = 1024 * 1024 + 16
STRONG = {f"2.16.840.1.101.3.4.2.{number}" for number in (1, 2, 3)}  # SHA-256, 384, 512
STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
EVENT = {"sequence", "at", "actor", "subject", "action", "detail", "changes", "previous", "hash"}
HEAD = {"sequence", "hash", "signed_at", "key", "signature"}
KEY = b'{"keytype":"ed25519","keyval":{"public":"HEX"},"scheme":"ed25519"}'
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
SEALED, OF_DISPOSAL = "urn:standfast:evidence:1", "urn:standfast:evidence-disposal:1"


class Differs(Exception):
    """Something differs from what was sealed or signed."""


def need(condition: object, otherwise: str) -> None:
    if not condition:
        raise Differs(otherwise)


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 form of a value (no fractions, keys in ASCII)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def strict(raw: bytes, name: str) -> Any:
    """Parse JSON in canonical form; Differs for any other form."""
    value = json.loads(raw)
    need(canonical(value) == raw, f"{name} is not written as it was signed")
    return value


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def need_signed(key: str, signature: bytes, text: bytes, otherwise: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, text)
    except InvalidSignature:
        raise Differs(otherwise) from None


def opened(path: Path) -> Any:
    """Open a regular file without following a link or waiting for a pipe."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    need(stat.S_ISREG(os.fstat(stream.fileno()).st_mode), f"{path.name} is not a regular file")
    return stream


def read(path: Path) -> bytes:
    with opened(path) as stream:
        return bytes(stream.read())


def decrypted(stream: Any, key: bytes) -> Iterator[bytes]:
    """Yield the content of an encrypted item; InvalidTag if it was changed."""
    salt, number, segment = stream.read(40)[8:], 0, stream.read(SEGMENT)
    cipher = AESGCM(HKDF(SHA256(), 32, salt, b"standfast-evidence item").derive(key))
    while segment:
        following = stream.read(SEGMENT)
        yield cipher.decrypt(number.to_bytes(11) + bytes([not following]), segment, None)
        number, segment = number + 1, following


def stamp_of(raw: bytes, message: bytes, roots: list[x509.Certificate]) -> tuple[datetime, str]:
    """Verify an RFC 3161 time stamp over `message`; return time and authority.

    The certificate must be valid at the time of the stamp, be for time stamping only (critical),
    and lead to a root.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    response = decode_timestamp_response(raw)
    need(response.status == 0, f"it grants no time stamp: its status is {response.status}")
    token_info, signed = response.tst_info, response.signed_data
    hash_algorithms = (token_info.message_imprint.hash_algorithm, *signed.digest_algorithms)
    is_strong = {it.dotted_string for it in hash_algorithms} <= STRONG
    need(is_strong, "it uses a hash that is weaker than SHA-256")
    digest, (signer_info,) = bytes.fromhex(sha256(message)), signed.signer_infos
    need(token_info.message_imprint.message == digest, "it stamps other content than this seal")
    certificates = map(x509.load_der_x509_certificate, signed.certificates)
    identifier = (signer_info.issuer, signer_info.serial_number)
    signers = [it for it in certificates if (it.issuer, it.serial_number) == identifier]
    need(len(signers) == 1, "it does not contain the certificate that it names exactly once")
    (signer,) = signers
    uses = [it for it in signer.extensions if isinstance(it.value, x509.ExtendedKeyUsage)]
    is_for_stamps = [[it.critical, *it.value] for it in uses] == [[True, STAMPING]]
    need(is_for_stamps, "it is signed by a certificate that is not for time stamping alone")
    was_valid = signer.not_valid_before_utc <= token_info.gen_time <= signer.not_valid_after_utc
    need(was_valid, "it is of a time at which its authority's certificate was not valid")
    try:
        VerifierBuilder(roots=roots).build().verify(response, digest)
    except VerificationError:
        raise Differs(
            "it is not signed by an authority below the given roots, or was changed"
        ) from None
    return token_info.gen_time, signer.subject.rfc4514_string()


class Check:
    """Verification of an incident's evidence, with its findings."""

    def __init__(
        self, seal_key: str, ledger_key: str, roots: Any = None, identity: Any = None
    ) -> None:
        self.seal_key, self.ledger_key, self.roots = seal_key, ledger_key, roots
        self.identity = identity  # keys of a custodian, to decrypt items
        self.stamp_line: Any = None  # the time stamp's line in the chain of custody
        self.problems: dict[str, list[str]] = {}  # problems by path
        self.report, self.unchecked = list[str](), list[str]()  # findings; checks not made
        self.statement: Any = None  # the timeline's first line, if the timeline verifies
        self.hashes: dict[int, str] = {}  # hashes of events, by number
        # By SOURCE/TOKEN: hash of the manifest, requester and approver of a begun disposal.
        self.disposals: dict[str, tuple[str, str, str]] = {}

    def attempt(self, about: object, action: Any, *arguments: Any) -> None:
        found = self.problems.setdefault(str(about), [])
        try:
            found.extend(action(*arguments) or ())
        except (Differs, OSError) as error:
            found.append(str(error))
        except Exception as error:  # malformed bytes may raise any error
            found.append(f"its content cannot be parsed ({type(error).__name__})")

    def folder(self, folder: Path, name: str) -> Iterator[str]:
        """Verify a folder; `name` is its SOURCE/TOKEN, or "" for a single folder."""
        manifest, digest = self.sealed(folder)
        frozen_as, items = f"{manifest['source']}/{manifest['token']}", manifest["items"]
        need(name in ("", frozen_as), f"it was moved here: it was frozen as {frozen_as}")
        clock = manifest.get("clock", {"offset_microseconds": None, "known_by": "not recorded"})
        count = [item["kind"] for item in items].count
        changed = sum("is_changed" in item for item in items)
        heading = "{source}/{token} for {incident}, of {host}, {started} to {ended}: "
        summary = heading.format(**manifest)
        partial = [it["path"] for it in items if it["kind"] == "file" and it.get("reason")]
        self.report += [f"{frozen_as}: {path}: incomplete" for path in partial]
        files, rest = count("file"), f"{len(partial)} incomplete), unread: {count('unread')}; "
        summary += f"files: {files} ({changed} changed meanwhile, {rest}"
        summary += "clock ahead by {offset_microseconds} microseconds ({known_by})".format(**clock)
        self.report.append(summary.replace("ahead by None microseconds", "off by an unknown time"))
        is_disposed = os.path.lexists(folder / DISPOSAL)
        if is_disposed:
            yield from self.disposal(folder, frozen_as, digest)
            items = []
        key = None if is_disposed else self.data_key(folder, frozen_as, manifest)
        known = set()
        for item in items:
            raw = b64decode(item["path_bytes"]) if "path_bytes" in item else item["path"].encode()
            known.add(place := os.fsdecode(raw).lstrip("/"))
            if problem := self.item(folder / FILES, place, item, key):
                yield f"{item['path']}: {problem}"
        yield from self.strangers(folder, known, is_encrypted=bool(manifest.get("encryption")))
        chain = self.custody(folder, frozen_as)
        if self.stamp_line or os.path.lexists(folder / STAMP):
            self.attempt(folder / STAMP, self.stamp, folder, frozen_as, manifest)
        elif self.roots:
            self.unchecked.append(f"{frozen_as}: no time stamp authority has stamped it")
        if self.statement is None:
            return
        need(manifest["incident"] == self.statement["incident"], "it is of another incident")
        entries = [it for it in self.statement["evidence"] if it["folder"] == frozen_as]
        self.unchecked += [] if entries else [f"{frozen_as}: the timeline was exported without it"]
        for entry in entries:
            need(digest == entry["manifest"], "it is sealed, but the timeline has another hash")
            is_there = [*chain, ""][: entry["custody"]][-1:] in ([], [entry["custody_hash"]])
            need(is_there, f"{CUSTODY} lacks lines that it had when the timeline was exported")

    def disposal(self, folder: Path, frozen_as: str, digest: str) -> Iterator[str]:
        """Verify the certificate of a disposal, and that nothing is left."""
        found = self.statement_of(folder, DISPOSAL, OF_DISPOSAL, digest)
        people = found["requested_by"], found["approved_by"]
        need(people[0] != people[1], f"{DISPOSAL} was requested and approved by one person")
        summary = (
            "disposed of {disposed_at}, requested by {requested_by}, approved by {approved_by}"
        )
        self.report.append(f"{frozen_as}: {summary.format(**found)}: {found['reason']}")
        for place in found["destroyed_keys"]:
            self.report.append(f"{frozen_as}: destroyed copy of the key: {place}")
        for copy in found["unconfirmed"]:
            self.report.append(f"{frozen_as}: NOT CONFIRMED: {copy['where']}: {copy['why']}")
        left = [name for name in (FILES, WRAPPED) if os.path.lexists(folder / name)]
        yield from (f"{name}: exists, although it was disposed of" for name in left)
        written = f"certificate SHA-256 {sha256(read(folder / DISPOSAL))}".encode()
        if written not in read(folder / CUSTODY):
            yield f"{DISPOSAL}: is not in {CUSTODY}"
        if self.statement and self.disposals.get(frozen_as) != (digest, *people):
            yield f"{DISPOSAL}: the timeline has no approved request for this folder"

    def sealed(self, folder: Path) -> tuple[Any, str]:
        """Return the manifest that the seal covers, and its digest."""
        raw = read(folder / MANIFEST)
        self.statement_of(folder, SEAL, SEALED, sha256(raw))
        manifest = json.loads(raw)
        need(manifest["format"] in FORMATS, f"{MANIFEST} has an unknown format")
        return manifest, sha256(raw)

    def statement_of(self, folder: Path, file: str, kind: str, digest: str) -> Any:
        """Verify a signed statement about the manifest; return its predicate."""
        envelope = strict(read(folder / file), file)
        payload, (signature,) = b64decode(envelope["payload"]), envelope["signatures"]
        written = [envelope["payload"], signature["sig"]]
        encoded = [b64encode(b64decode(text)).decode() for text in written]
        need(encoded == written, f"{file} is not written as it was sealed")
        need(envelope["payloadType"] == PAYLOAD_TYPE, f"{file} does not contain a statement")
        if self.seal_key:
            text = b"DSSEv1 28 %b %d %b" % (PAYLOAD_TYPE.encode(), len(payload), payload)
            name = sha256(KEY.replace(b"HEX", self.seal_key.encode()))
            otherwise = f"{file} is not signed by the expected key"
            need(signature["keyid"] == name, otherwise)  # in-toto's tools search by key id
            need_signed(self.seal_key, b64decode(signature["sig"]), text, otherwise)
        body = json.loads(payload)
        need(
            (body["_type"], body["predicateType"]) == (STATEMENT, kind),
            f"{file} is about something else",
        )
        is_ours = body["subject"] == [{"name": MANIFEST, "digest": {"sha256": digest}}]
        need(is_ours, f"{MANIFEST} is not the one that was sealed")
        return body["predicate"]

    def data_key(self, folder: Path, frozen_as: str, manifest: Any) -> bytes | None:
        """Verify the wrapped key; return the data key if it can be opened."""
        if not (encryption := manifest.get("encryption")):
            return None
        wrapped = read(folder / WRAPPED)
        need(sha256(wrapped) == encryption["key_sha256"], f"{WRAPPED} is not what was sealed")
        count = len(encryption["custodians"])
        self.report.append(f"{frozen_as}: encrypted to {count} custodians")
        if self.identity is None:
            return None
        import pyrage

        try:
            return bytes(pyrage.decrypt(wrapped, self.identity))
        except pyrage.DecryptError:
            raise Differs("the identity is not that of a custodian of this evidence") from None

    def item(self, files: Path, place: str, item: Any, key: bytes | None) -> str:
        path, kind = files / place, item["kind"]
        if kind in ("special", "unread"):
            return ""  # the item has no copy
        if ".." in place.split("/"):
            return "its path leads out of the evidence"
        try:
            mode = path.lstat().st_mode
            if kind == "folder":
                return "" if stat.S_ISDIR(mode) else "is not a folder any more"
            if kind == "link":
                target = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b""
                is_same = target.decode("utf-8", "backslashreplace") == item["link_target"]
                return "" if is_same else "is not the link that was sealed"
            if not stat.S_ISREG(mode):
                return "is not a file any more"
            with opened(path) as stream:
                stored = item.get("sealed_sha256", item["sha256"])
                is_same = hashlib.file_digest(stream, "sha256").hexdigest() == stored
                if is_same and key:
                    content = hashlib.sha256()
                    stream.seek(0)
                    for piece in decrypted(stream, key):
                        content.update(piece)
                    is_same = content.hexdigest() == item["sha256"]
                return "" if is_same else "its content is not what was collected"
        except InvalidTag:
            return "cannot be decrypted"
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def strangers(self, folder: Path, known: set[str], *, is_encrypted: bool) -> Iterator[str]:
        ours = {MANIFEST, SEAL, STAMP, CUSTODY, FILES, DISPOSAL} | (
            {WRAPPED} if is_encrypted else set()
        )
        for name in sorted({it.name for it in folder.iterdir()} - ours):
            yield f"{name}: is not part of the evidence"
        for place, folders, names in os.walk(folder / FILES):
            links = [name for name in folders if (Path(place) / name).is_symlink()]
            paths = [f"{place}/{name}" for name in [*names, *links]]
            found = {os.path.relpath(path, folder / FILES) for path in paths}
            yield from (f"{name}: is not in the manifest" for name in sorted(found - known))

    def custody(self, folder: Path, frozen_as: str) -> list[str]:
        """Return the hashes of the lines of the chain that begins with the seal."""
        *lines, rest = read(folder / CUSTODY).split(b"\n")
        need(lines, f"{CUSTODY} has no entry: who collected this is not known")
        need(not rest, f"{CUSTODY} ends within a line")
        hashes, self.stamp_line = [sha256(read(folder / SEAL))], None
        for number, line in enumerate(lines, 1):
            entry = strict(line, f"{CUSTODY}:{number}")
            found, link = entry.pop("hash"), (entry["sequence"], entry["previous"])
            follows = link == (number, hashes[-1]) and found == sha256(canonical(entry))
            need(follows, f"{CUSTODY}:{number}: does not follow from the line before")
            hashes.append(found)
            is_stamp = entry["act"] == "stamped" and self.stamp_line is None
            self.stamp_line = entry if is_stamp else self.stamp_line
            self.report.append(f"{frozen_as}: {entry['at']} {entry['act']} by {entry['who']}")
        return hashes[1:]

    def stamp(self, folder: Path, frozen_as: str, manifest: Any) -> Iterator[str]:
        """Verify the time stamp; without roots, only compare it with the chain."""
        line, seal = self.stamp_line, read(folder / SEAL)
        recorded = re.fullmatch(r"(\S{27}), SHA-256 ([0-9a-f]{64})", line["detail"] if line else "")
        need(recorded or not line, f"{CUSTODY} records a time stamp without its time or hash")
        at = recorded[1] if recorded else "an unknown time"
        need(os.path.lexists(folder / STAMP), f"it is missing: {CUSTODY} records it as of {at}")
        raw = read(folder / STAMP)
        need(not recorded or recorded[2] == sha256(raw), f"it is not the one that {CUSTODY} has")
        # A stamp of this seal contains its hash; this is visible without roots.
        need(bytes.fromhex(sha256(seal)) in raw, "it stamps other content than this seal")
        if not line:
            self.unchecked.append(f"{frozen_as}: {CUSTODY} does not record who fetched {STAMP}")
        files = ["-in", str(folder / STAMP), "-data", str(folder / SEAL), "-CAfile", "ROOTS"]
        by_hand = shlex.join(["openssl", "ts", "-verify", *files])
        why = "add --stamp-roots"
        try:
            moment, who = stamp_of(raw, seal, self.roots) if self.roots else (None, "")
        except ImportError:
            moment, why = None, "the package rfc3161-client is not installed"
        if moment is None:
            stamp = f"{frozen_as}: its time stamp, of {at}"
            self.unchecked.append(f"{stamp}: {why}; or run `{by_hand}`")
            return
        written = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        need(not recorded or at == written, f"it says {written}, but {CUSTODY} says {at}")
        self.report.append(f"{frozen_as}: stamped {written} by {who}")
        offset, minute = manifest.get("clock", {}).get("offset_microseconds"), timedelta(minutes=1)
        off, ended = timedelta(microseconds=offset or 0), datetime.fromisoformat(manifest["ended"])
        fetched = datetime.fromisoformat(line["at"]) if line else moment
        found = ""
        if moment < min(ended, ended - off) - minute:
            found = f"it is older than what it stamps, which was frozen until {ended}"
        if moment > max(fetched, fetched - off) + minute:
            found = f"it is newer than when it was fetched, {fetched}"
        if found and offset is None:
            clock = "by a clock with an unknown offset"
            self.unchecked.append(f"{frozen_as}: its time stamp: {found}, {clock}")
        elif found:
            yield found

    def timeline(self, file: Path) -> None:
        with opened(file) as stream:
            statement = strict(next(stream)[:-1], "line 1")["timeline"]
            need(statement["format"] == "standfast-timeline/1", "it has an unknown format")
            need(self.ledger_key in ("", statement["key"]), "it is signed by another key")
            self.signature(statement, b"standfast timeline v1\n", "line 1")
            at, own, newest = statement["first"] - 1, 0, 0
            held = approver = ""  # who set a legal hold, who approved a disposal
            request, is_begun = None, False  # the open request of a disposal
            hashes = self.hashes = {at: statement["previous"]}
            for number, line in enumerate(stream, 2):
                ((kind, event),) = strict(line[:-1], f"line {number}").items()
                if kind == "head":
                    newest = self.head(event, statement["key"], f"line {number}")
                    continue
                need(kind == "event", f"line {number} is neither an event nor a head")
                need(event["sequence"] == at + 1, f"event {at + 1} is missing: see line {number}")
                at, body = at + 1, {name: event[name] for name in EVENT - {"hash"}}
                is_whole = event.keys() == EVENT and event["hash"] == sha256(canonical(body))
                need(is_whole, f"event {at} was changed: its hash differs")
                need(event["previous"] == hashes[at - 1], f"event {at} does not follow")
                hashes[at] = event["hash"]
                if event["subject"] != statement["incident"]:
                    continue
                own, who, action = own + 1, event["actor"], event["action"]
                detail = json.loads(event["detail"])
                if action == "evidence.held":
                    held, request = who, request if is_begun else None
                elif action == "evidence.hold_released":
                    need(who != held, f"event {at}: {who} released a legal hold of their own")
                    held = ""
                elif action == "evidence.disposal_requested":
                    request, approver, is_begun = {**event, **detail}, "", False
                elif action == "evidence.disposal_withdrawn":
                    request = None
                elif held or not request or detail.get("request") != request["sequence"]:
                    continue  # the event is about no open request, or a hold came first
                elif action == "evidence.disposal_approved":
                    need(who != request["actor"], f"event {at}: {who} approved their own request")
                    approver = approver or who
                elif action == "evidence.disposal_begun" and approver:
                    name, manifest = detail["folder"], detail["manifest"]
                    if request["folders"].get(name) == manifest:
                        self.disposals[name] = manifest, request["actor"], approver
                        is_begun = True
        if held:
            self.report.append(f"the evidence is under legal hold by {held}")
        is_all = (at, hashes[at]) == (statement["last"], statement["hash"])
        need(is_all, f"it ends with event {at}, and was exported to event {statement['last']}")
        need(newest == at, "no signed head covers its end")
        self.report.append("{} events of {incident}, {first} to {last}".format(own, **statement))
        self.statement = statement

    def signature(self, record: Any, context: bytes, place: str) -> None:
        body = {name: record[name] for name in record.keys() - {"key", "signature"}}
        signature, otherwise = record["signature"], f"the signature of {place} does not verify"
        need(signature.islower(), otherwise)  # accept only one spelling of a signature
        need_signed(record["key"], bytes.fromhex(signature), context + canonical(body), otherwise)

    def head(self, head: Any, key: str, place: str) -> int:
        need(head.keys() == HEAD and head["key"] == key, f"{place} is not a head of this ledger")
        need(self.hashes.get(head["sequence"]) == head["hash"], f"{place} is of another event")
        self.signature(head, b"standfast audit head v1\n", place)
        return int(head["sequence"])

    def witness(self, file: Path) -> None:
        need(self.statement, "it cannot be compared: no timeline verifies")
        lines = read(file).split(b"\n")[:-1]
        heads = [it for it in map(json.loads, lines) if it["sequence"] in self.hashes]
        for head in heads:
            self.head(head, self.statement["key"], f"its head of event {head['sequence']}")
        need(heads, "it has no head of these events")
        self.report.append(f"the witness confirms {len(heads)} signed heads of these events")

    def run(self, top: Path, timeline: Path | None, witness: Path | None) -> int:
        for file, check in ((timeline, self.timeline), (witness, self.witness)):
            if file:
                self.attempt(file, check, file)
        is_one = any(os.path.lexists(top / name) for name in (MANIFEST, SEAL, CUSTODY))
        folders = [it for it in top.glob("*/*") if it.is_dir() and not it.is_symlink()]
        below = {f"{it.parent.name}/{it.name}": it for it in folders}
        for name, folder in {"": top}.items() if is_one else sorted(below.items()):
            self.attempt(folder, self.folder, folder, name)
        for entry in self.statement["evidence"] if self.statement and not is_one else ():
            if entry["folder"] not in below:
                self.problems[str(top / entry["folder"])] = [
                    "it is missing: it was frozen and sealed"
                ]
        for given, why in (
            (self.seal_key, "--seal-key: whether this installation made these seals"),
            (timeline, "--timeline: whether folders, or lines at the end of a chain, are missing"),
            (self.ledger_key, "--ledger-key: whether this ledger wrote the timeline"),
            (witness, "--witness: whether the timeline agrees with a witness"),
        ):
            self.unchecked += [] if given else [f"without {why}"]
        return 6 if any(self.problems.values()) else 3 if self.unchecked else 0


def main(arguments: list[str] | None = None) -> int:
    shown: Any = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("folder", type=Path)
    for name in ("seal", "ledger"):
        parser.add_argument(f"--{name}-key", type=str.lower, default="", metavar="HEX")
    for name in ("timeline", "witness"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    parser.add_argument("--stamp-roots", type=Path, metavar="FILE")
    parser.add_argument("--identity", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    given = parser.parse_args(arguments)
    if {len(given.seal_key), len(given.ledger_key)} - {0, 64}:
        parser.error("a key is 64 hexadecimal digits")
    roots = identity = None
    if given.identity:
        import pyrage

        try:
            text = given.identity.read_text()
            keys = re.findall("^AGE-SECRET-KEY-1.*$", text, re.MULTILINE)
            identity = [pyrage.x25519.Identity.from_str(key.strip()) for key in keys]
        except (OSError, ValueError, pyrage.IdentityError):
            parser.error(f"{given.identity} has no age key")
    try:
        if given.stamp_roots:
            roots = x509.load_pem_x509_certificates(given.stamp_roots.read_bytes())
    except (OSError, ValueError):
        parser.error(f"{given.stamp_roots} has no certificates in PEM")
    check = Check(given.seal_key, given.ledger_key, roots, identity)
    status = check.run(given.folder, given.timeline, given.witness)
    if not check.problems:
        parser.error(f"{given.folder} contains no sealed folder")
    if given.json:
        found = {"problems": check.problems, "unchecked": check.unchecked, "report": check.report}
        print(json.dumps({"is_whole": status != 6, **found, "exit_status": status}))
        return status
    for about, problems in check.problems.items():
        check.report.append(f"{about}: {'DIFFERS' if problems else 'agrees'}")
        check.report += [f"  {problem}" for problem in problems]
    for line in [*check.report, *(f"not checked, {why}" for why in check.unchecked)]:
        print("".join(c if c.isprintable() else "?" for c in line))
    return status


if __name__ == "__main__":
    sys.exit(main())
