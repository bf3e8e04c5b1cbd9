#!/usr/bin/env python3
"""Check evidence that Standfast froze, as it was handed over: offline, and without Standfast.

You need Python 3.11 or newer, this file, and:
    python3 -m venv look && look/bin/pip install cryptography
    look/bin/python standfast_verify.py FOLDER --seal-key HEX --timeline FILE --ledger-key HEX
FOLDER is an incident's evidence (below it SOURCE/TOKEN), or one sealed folder of it. FILE is the
timeline that `standfast audit export` wrote. The keys are 64 digits each: get them by another way
than the evidence, such as a report on paper. With --witness FILE the timeline is also held against
what a witness outside of it was told; with --stamp-roots FILE time stamps are verified: FILE has
the root certificates of who made them (PEM), and the package rfc3161-client is needed for that.
Nothing is changed, no link is followed, and what could not be checked is named as well as what
differs. docs/evidence.md describes every format.
Exit status: 0 all agrees; 2 wrong use; 3 what was checked agrees, not all could be; 6 it differs.
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
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

MANIFEST, SEAL, CUSTODY, FILES = "manifest.json", "seal.dsse.json", "custody.jsonl", "files"
STAMP = "seal.tsr"
STRONG = {f"2.16.840.1.101.3.4.2.{number}" for number in (1, 2, 3)}  # SHA-256, 384, 512
STAMPING = ExtendedKeyUsageOID.TIME_STAMPING
EVENT = {"sequence", "at", "actor", "subject", "action", "detail", "changes", "previous", "hash"}
HEAD = {"sequence", "hash", "signed_at", "key", "signature"}
KEY = b'{"keytype":"ed25519","keyval":{"public":"HEX"},"scheme":"ed25519"}'
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = ("https://in-toto.io/Statement/v1", "urn:standfast:evidence:1")


class Differs(Exception): ...  # something is not what was sealed or signed


def need(condition: object, otherwise: str) -> None:
    if not condition:
        raise Differs(otherwise)


def canonical(value: Any) -> bytes:
    """JSON in the one form of RFC 8785 that these files have: no fractions, keys in ASCII."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def strict(raw: bytes, what: str) -> Any:
    """JSON that is written in that form and no other: no bit of it says nothing."""
    value = json.loads(raw)
    need(canonical(value) == raw, f"{what} is not written as it was signed")
    return value


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def need_signed(key: str, signature: bytes, text: bytes, otherwise: str) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, text)
    except InvalidSignature:
        raise Differs(otherwise) from None


def opened(path: Path) -> Any:
    """A file to read from; never through a link, nor a pipe that would keep us waiting."""
    stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")
    need(stat.S_ISREG(os.fstat(stream.fileno()).st_mode), f"{path.name} is no file")
    return stream


def read(path: Path) -> bytes:
    with opened(path) as stream:
        return bytes(stream.read())


def stamp_of(raw: bytes, message: bytes, roots: list[x509.Certificate]) -> tuple[datetime, str]:
    """When a time stamp (RFC 3161) says that `message` was there, and who says so.

    Its certificate was valid then, is for time stamping alone (critical), and leads to a root.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    response = decode_timestamp_response(raw)
    need(response.status == 0, f"it grants no time stamp: its status is {response.status}")
    told, signed = response.tst_info, response.signed_data
    by = (told.message_imprint.hash_algorithm, *signed.digest_algorithms)
    is_strong = {it.dotted_string for it in by} <= STRONG
    need(is_strong, "it goes by a hash that is weaker than SHA-256")
    digest, (info,) = bytes.fromhex(sha256(message)), signed.signer_infos
    need(told.message_imprint.message == digest, "it is over something else than this seal")
    there = map(x509.load_der_x509_certificate, signed.certificates)
    named = (info.issuer, info.serial_number)
    signers = [it for it in there if (it.issuer, it.serial_number) == named]
    need(len(signers) == 1, "it has not the one certificate of its authority that it names")
    (signer,) = signers
    uses = [it for it in signer.extensions if isinstance(it.value, x509.ExtendedKeyUsage)]
    is_for_stamps = [[it.critical, *it.value] for it in uses] == [[True, STAMPING]]
    need(is_for_stamps, "it is signed by a certificate that is not for time stamping alone")
    was_valid = signer.not_valid_before_utc <= told.gen_time <= signer.not_valid_after_utc
    need(was_valid, "it is of a time at which its authority's certificate was not valid")
    try:
        VerifierBuilder(roots=roots).build().verify(response, digest)
    except VerificationError:
        raise Differs("it is not signed by whom the roots vouch for, or was changed") from None
    return told.gen_time, signer.subject.rfc4514_string()


class Check:
    def __init__(
        self, seal_key: str, ledger_key: str, roots: list[x509.Certificate] | None = None
    ) -> None:
        self.seal_key, self.ledger_key, self.roots = seal_key, ledger_key, roots
        self.stamp_line: Any = None  # of the folder that is looked at
        self.problems: dict[str, list[str]] = {}  # by what was looked at
        self.told, self.unchecked = list[str](), list[str]()  # what is there; what nobody can say
        self.statement: Any = None  # the timeline's first line, when the timeline is whole
        self.hashes: dict[int, str] = {}  # of its events

    def attempt(self, about: object, action: Any, *arguments: Any) -> None:
        found = self.problems.setdefault(str(about), [])
        try:
            found.extend(action(*arguments) or ())
        except (Differs, OSError) as error:
            found.append(str(error))
        except Exception as error:  # whatever bytes that do not fit may lead to
            found.append(f"it cannot be read as what it should be ({type(error).__name__})")

    def folder(self, folder: Path, name: str) -> Iterator[str]:
        """`name` is the SOURCE/TOKEN where the folder lies; empty where it came alone."""
        made, digest = self.sealed(folder)
        frozen_as, items = f"{made['source']}/{made['token']}", made["items"]
        need(name in ("", frozen_as), f"it was moved here: it was frozen as {frozen_as}")
        clock = made.get("clock", {"offset_microseconds": None, "known_by": "not recorded"})
        of_kind, changed = (
            [it["kind"] for it in items].count,
            sum("is_changed" in it for it in items),
        )
        told = "{source}/{token} for {incident}, of {host}, {started} to {ended}: ".format(**made)
        told += (
            f"files: {of_kind('file')} ({changed} changed meanwhile), unread: {of_kind('unread')}; "
        )
        told += "clock ahead by {offset_microseconds} microseconds ({known_by})".format(**clock)
        self.told.append(told.replace("ahead by None microseconds", "off by an unknown time"))
        known = set()
        for item in items:
            raw = b64decode(item["path_bytes"]) if "path_bytes" in item else item["path"].encode()
            known.add(place := os.fsdecode(raw).lstrip("/"))
            if problem := self.item(folder / FILES, place, item):
                yield f"{item['path']}: {problem}"
        yield from self.strangers(folder, known)
        chain = self.custody(folder, frozen_as)
        if self.stamp_line or os.path.lexists(folder / STAMP):
            self.attempt(folder / STAMP, self.stamp, folder, frozen_as, made)
        elif self.roots:
            self.unchecked.append(f"{frozen_as}: no time stamp authority has stamped it")
        if self.statement is None:
            return
        need(made["incident"] == self.statement["incident"], "it is of another incident")
        said = [it for it in self.statement["evidence"] if it["folder"] == frozen_as]
        self.unchecked += [] if said else [f"{frozen_as}: the timeline was exported without it"]
        for one in said:
            need(digest == one["manifest"], "it is sealed, and is not what the timeline names")
            is_there = [*chain, ""][: one["custody"]][-1:] in ([], [one["custody_hash"]])
            need(is_there, f"{CUSTODY} lacks lines that it had when the timeline was exported")

    def sealed(self, folder: Path) -> tuple[Any, str]:
        """The manifest that the seal vouches for, and its digest."""
        envelope, raw = strict(read(folder / SEAL), SEAL), read(folder / MANIFEST)
        payload, (one,) = b64decode(envelope["payload"]), envelope["signatures"]
        again = [b64encode(b64decode(it)).decode() for it in (envelope["payload"], one["sig"])]
        need(again == [envelope["payload"], one["sig"]], f"{SEAL} is not written as it was sealed")
        need(envelope["payloadType"] == PAYLOAD_TYPE, f"{SEAL} carries no statement")
        if self.seal_key:
            text = b"DSSEv1 28 %b %d %b" % (PAYLOAD_TYPE.encode(), len(payload), payload)
            name = sha256(KEY.replace(b"HEX", self.seal_key.encode()))
            otherwise = f"{SEAL} is not signed by the key it is checked with"
            need(one["keyid"] == name, otherwise)  # as in-toto's tools look for it
            need_signed(self.seal_key, b64decode(one["sig"]), text, otherwise)
        said, manifest = json.loads(payload), json.loads(raw)
        need((said["_type"], said["predicateType"]) == STATEMENT, f"{SEAL} is about something else")
        is_ours = said["subject"] == [{"name": MANIFEST, "digest": {"sha256": sha256(raw)}}]
        need(is_ours, f"{MANIFEST} is not the one that was sealed")
        need(manifest["format"] == "standfast-evidence/1", f"{MANIFEST} has an unknown format")
        return manifest, sha256(raw)

    def item(self, files: Path, place: str, item: Any) -> str:
        path, kind = files / place, item["kind"]
        if kind in ("special", "unread"):
            return ""  # noted only: nothing was kept
        if ".." in place.split("/"):
            return "its path leads out of the evidence"
        try:
            mode = path.lstat().st_mode
            if kind == "folder":
                return "" if stat.S_ISDIR(mode) else "is no folder any more"
            if kind == "link":
                target = os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else b""
                is_same = target.decode("utf-8", "backslashreplace") == item["link_target"]
                return "" if is_same else "is no longer the link it was"
            if not stat.S_ISREG(mode):
                return "is no file any more"
            with opened(path) as stream:
                is_same = hashlib.file_digest(stream, "sha256").hexdigest() == item["sha256"]
                return "" if is_same else "its content is not what was collected"
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read: {error.strerror}"

    def strangers(self, folder: Path, known: set[str]) -> Iterator[str]:
        ours = {MANIFEST, SEAL, STAMP, CUSTODY, FILES}
        for name in sorted({it.name for it in folder.iterdir()} - ours):
            yield f"{name}: is no part of the evidence"
        for place, folders, names in os.walk(folder / FILES):
            links = [name for name in folders if (Path(place) / name).is_symlink()]
            found = {
                os.path.relpath(f"{place}/{name}", folder / FILES) for name in [*names, *links]
            }
            yield from (f"{name}: is not in the manifest" for name in sorted(found - known))

    def custody(self, folder: Path, frozen_as: str) -> list[str]:
        """The hashes of the lines of the chain, which begins from the seal."""
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
            self.told.append(f"{frozen_as}: {entry['at']} {entry['act']} by {entry['who']}")
        return hashes[1:]

    def stamp(self, folder: Path, frozen_as: str, made: Any) -> Iterator[str]:
        """The time stamp over the seal: without roots, that it is the one that was kept."""
        line, seal = self.stamp_line, read(folder / SEAL)
        said = re.fullmatch(r"(\S{27}), SHA-256 ([0-9a-f]{64})", line["detail"]) if line else None
        need(said or not line, f"{CUSTODY} says that it was stamped, and not when and how")
        at = said[1] if said else "an unknown time"
        need(os.path.lexists(folder / STAMP), f"it is gone: {CUSTODY} has it as of {at}")
        raw = read(folder / STAMP)
        need(not said or said[2] == sha256(raw), f"it is not the one that {CUSTODY} has")
        # Whatever else it is: a stamp of this seal has its hash in it.
        need(bytes.fromhex(sha256(seal)) in raw, "it is over something else than this seal")
        if not line:
            self.unchecked.append(f"{frozen_as}: who fetched {STAMP} is not in {CUSTODY}")
        files = ["-in", str(folder / STAMP), "-data", str(folder / SEAL), "-CAfile", "ROOTS"]
        by_hand = shlex.join(["openssl", "ts", "-verify", *files])
        why = "give --stamp-roots"
        try:
            moment, who = stamp_of(raw, seal, self.roots) if self.roots else (None, "")
        except ImportError:
            moment, why = None, "the package rfc3161-client is not installed"
        if moment is None:
            stamp = f"{frozen_as}: its time stamp, of {at}"
            self.unchecked.append(f"{stamp}: {why}; or run `{by_hand}`")
            return
        written = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        need(not said or at == written, f"it says {written}, {CUSTODY} {at}")
        self.told.append(f"{frozen_as}: stamped {written} by {who}")
        offset, minute = made.get("clock", {}).get("offset_microseconds"), timedelta(minutes=1)
        off, ended = timedelta(microseconds=offset or 0), datetime.fromisoformat(made["ended"])
        fetched = datetime.fromisoformat(line["at"]) if line else moment
        found = ""
        if moment < min(ended, ended - off) - minute:
            found = f"it is older than what it stamps, which was frozen until {ended}"
        if moment > max(fetched, fetched - off) + minute:
            found = f"it is newer than when it was fetched, {fetched}"
        if found and offset is None:
            clock = "by a clock of which nobody knows how far it was off"
            self.unchecked.append(f"{frozen_as}: its time stamp: {found}, {clock}")
        elif found:
            yield found

    def timeline(self, file: Path) -> None:
        with opened(file) as stream:
            told = strict(next(stream)[:-1], "line 1")["timeline"]
            need(told["format"] == "standfast-timeline/1", "it has an unknown format")
            need(self.ledger_key in ("", told["key"]), "it is signed by another key")
            self.signature(told, b"standfast timeline v1\n", "line 1")
            at, own, newest = told["first"] - 1, 0, 0
            hashes = self.hashes = {at: told["previous"]}
            for number, line in enumerate(stream, 2):
                ((kind, event),) = strict(line[:-1], f"line {number}").items()
                if kind == "head":
                    newest = self.head(event, told["key"], f"line {number}")
                    continue
                need(kind == "event", f"line {number} is neither an event nor a head")
                need(event["sequence"] == at + 1, f"event {at + 1} is missing: see line {number}")
                at, body = at + 1, {name: event[name] for name in EVENT - {"hash"}}
                is_whole = event.keys() == EVENT and event["hash"] == sha256(canonical(body))
                need(is_whole, f"event {at} was changed: its hash differs")
                need(event["previous"] == hashes[at - 1], f"event {at} does not follow")
                hashes[at] = event["hash"]
                own += event["subject"] == told["incident"]
        is_all = (at, hashes[at]) == (told["last"], told["hash"])
        need(is_all, f"it ends with event {at}, and was exported to event {told['last']}")
        need(newest == at, "no signed head covers its end")
        self.told.append(f"{own} events of {{incident}}, from {{first}} to {{last}}".format(**told))
        self.statement = told

    def signature(self, record: Any, context: bytes, what: str) -> None:
        body = {name: record[name] for name in record.keys() - {"key", "signature"}}
        signature, otherwise = record["signature"], f"the signature of {what} does not verify"
        need(signature.islower(), otherwise)  # or one bit of it would say nothing
        need_signed(record["key"], bytes.fromhex(signature), context + canonical(body), otherwise)

    def head(self, head: Any, key: str, what: str) -> int:
        need(head.keys() == HEAD and head["key"] == key, f"{what} is no head of this ledger")
        need(self.hashes.get(head["sequence"]) == head["hash"], f"{what} is of another event")
        self.signature(head, b"standfast audit head v1\n", what)
        return int(head["sequence"])

    def witness(self, file: Path) -> None:
        need(self.statement, "nothing to hold it against: there is no timeline that is whole")
        lines = read(file).split(b"\n")[:-1]
        heads = [it for it in map(json.loads, lines) if it["sequence"] in self.hashes]
        for head in heads:
            self.head(head, self.statement["key"], f"its head of event {head['sequence']}")
        need(heads, "it has no head of these events")
        self.told.append(f"the witness confirms {len(heads)} signed heads of these events")

    def run(self, top: Path, timeline: Path | None, witness: Path | None) -> int:
        for file, check in ((timeline, self.timeline), (witness, self.witness)):
            if file:
                self.attempt(file, check, file)
        is_one = any(os.path.lexists(top / name) for name in (MANIFEST, SEAL, CUSTODY))
        folders = [it for it in top.glob("*/*") if it.is_dir() and not it.is_symlink()]
        below = {f"{it.parent.name}/{it.name}": it for it in folders}
        for name, folder in {"": top}.items() if is_one else sorted(below.items()):
            self.attempt(folder, self.folder, folder, name)
        for one in self.statement["evidence"] if self.statement and not is_one else ():
            if one["folder"] not in below:
                self.problems[str(top / one["folder"])] = ["it is gone: it was frozen and sealed"]
        for given, why in (
            (self.seal_key, "--seal-key: whether these seals are not somebody else's"),
            (timeline, "--timeline: whether folders are gone, or lines at the end of a chain"),
            (self.ledger_key, "--ledger-key: whether the timeline is not somebody else's"),
            (witness, "--witness: whether the timeline is what a witness was told"),
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
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    given = parser.parse_args(arguments)
    if {len(given.seal_key), len(given.ledger_key)} - {0, 64}:
        parser.error("a key is 64 hexadecimal digits")
    roots = None
    try:
        if given.stamp_roots:
            roots = x509.load_pem_x509_certificates(given.stamp_roots.read_bytes())
    except (OSError, ValueError):
        parser.error(f"{given.stamp_roots} has no certificates in PEM")
    check = Check(given.seal_key, given.ledger_key, roots)
    status = check.run(given.folder, given.timeline, given.witness)
    if not check.problems:
        parser.error(f"{given.folder} holds no sealed folder")
    if given.json:
        found = {"problems": check.problems, "unchecked": check.unchecked, "told": check.told}
        print(json.dumps({"is_whole": status != 6, **found, "exit_status": status}))
        return status
    for about, problems in check.problems.items():
        check.told.append(f"{about}: {'DIFFERS' if problems else 'agrees'}")
        check.told += [f"  {problem}" for problem in problems]
    for line in [*check.told, *(f"not checked, {why}" for why in check.unchecked)]:
        print("".join(c if c.isprintable() else "?" for c in line))
    return status


if __name__ == "__main__":
    sys.exit(main())
