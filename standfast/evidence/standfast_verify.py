#!/usr/bin/env python3
"""Check evidence that Standfast froze, as it was handed over: offline, and without Standfast.

You need Python 3.11 or newer, this file, and:
    python3 -m venv look && look/bin/pip install cryptography
    look/bin/python standfast_verify.py FOLDER --seal-key HEX --timeline FILE --ledger-key HEX
FOLDER is an incident's evidence (below it SOURCE/TOKEN), or one sealed folder of it. FILE is the
timeline that `standfast audit export` wrote. The keys are 64 digits each: get them by another way
than the evidence, such as a report on paper. With --witness FILE the timeline is also held against
what a witness outside of it was told. Nothing is changed, no link is followed, and what could not
be checked is named as well as what differs. docs/evidence.md describes every format.
Exit status: 0 all agrees; 2 wrong use; 3 what was checked agrees, not all could be; 6 it differs.
"""

import argparse
import hashlib
import json
import os
import stat
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MANIFEST, SEAL, CUSTODY, FILES = "manifest.json", "seal.dsse.json", "custody.jsonl", "files"
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


class Check:
    def __init__(self, seal_key: str, ledger_key: str) -> None:
        self.seal_key, self.ledger_key = seal_key, ledger_key
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
        for name in sorted({it.name for it in folder.iterdir()} - {MANIFEST, SEAL, CUSTODY, FILES}):
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
        hashes = [sha256(read(folder / SEAL))]
        for number, line in enumerate(lines, 1):
            entry = strict(line, f"{CUSTODY}:{number}")
            found, link = entry.pop("hash"), (entry["sequence"], entry["previous"])
            follows = link == (number, hashes[-1]) and found == sha256(canonical(entry))
            need(follows, f"{CUSTODY}:{number}: does not follow from the line before")
            hashes.append(found)
            self.told.append(f"{frozen_as}: {entry['at']} {entry['act']} by {entry['who']}")
        return hashes[1:]

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
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    given = parser.parse_args(arguments)
    if {len(given.seal_key), len(given.ledger_key)} - {0, 64}:
        parser.error("a key is 64 hexadecimal digits")
    check = Check(given.seal_key, given.ledger_key)
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
