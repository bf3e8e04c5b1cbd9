#!/usr/bin/env python3
"""Break glass: restore a recovery point when nothing else of this program is left.

You need Linux, Python 3.11 or newer, this file, and:
    python3 -m pip install cryptography zstandard blake3 pyrage
You type, to list the points, or to restore one ("desk-1/0000000012", as listed; else the newest):
    python3 break_glass.py VAULT KEYS IDENTITY_FILE
    python3 break_glass.py VAULT KEYS IDENTITY_FILE TARGET [POINT]
VAULT and KEYS are copies of the two stores as folders ("pub" and "w" in one, "k" in the other):
download a bucket whole, the name of each object becoming its path. IDENTITY_FILE is a custodian's
private key (age or ssh; or an age file under a passphrase). TARGET is a folder not there yet.
Be root if owners, set-id bits and devices are to come back.
What happens, in this order (FORMAT.md has every byte of it):
    1. root records  say who may write; each is signed by the owner and names the one before
    2. snapshot      signed by its writer; says which domain's key opens its sealed part
    3. key record    signed by the owner; your identity opens the domain's key in it
    4. pages         the tree that lists every file, read from the top down
    5. packs         each piece is authenticated and its keyed hash compared before it is used
    6. folders       get their modes and times last
What is damaged is named and left out, the rest is restored, and nothing written is a guess.
Exit status: 0 done; 2 wrong use or wrong key; 3 partial (not all could be restored, or had been
read when the point was made); 6 damaged.
"""

import getpass
import hashlib
import json
import os
import stat
import sys
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pyrage
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HEADER, SEGMENT, MOST_RAW, TEN_DIGITS = 4096, 65_536, 8 * 2**20, "[0-9]" * 10
TYPES = {"block-device": stat.S_IFBLK, "character-device": stat.S_IFCHR, "fifo": stat.S_IFIFO}


class Refused(OSError):
    """Wrong use or wrong key; the message says what to do."""


def need(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


class BreakGlass:
    def __init__(self, vault: Path, keys: Path, top: Path) -> None:
        self.vault, self.keys, self.top = vault, keys, top
        self.at = ""  # the object being read: what does not fit is its damage
        self.told: dict[str, int] = {}  # what went wrong, and the exit status that it leads to
        self.pack, self.frame = lru_cache(4)(self._pack), lru_cache(8)(self._frame)
        self.root: Any = {"number": -1, "hash": None}  # the record in force
        self.folders: dict[bytes, Any] = {}  # those made, and their entries where they have one
        self.files: set[bytes] = set()  # those written

    def tell(self, status: int, what: object) -> None:
        text = "".join(c if c.isprintable() else "?" for c in str(what))
        if text not in self.told:
            print({2: "REFUSED", 3: "INCOMPLETE", 6: "DAMAGED"}[status], text, file=sys.stderr)
        self.told[text] = status

    def attempt(self, what: str, action: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except OSError as error:  # FileNotFoundError: an object is missing; else a path's trouble
            self.tell({Refused: 2, FileNotFoundError: 6}.get(type(error), 3), f"{what}: {error}")
        except Exception as error:  # whatever bytes that do not fit may lead to
            self.tell(6, f"{self.at}: {str(error) or type(error).__name__} (for {what})")
        return None

    def record(self, kind: str, name: str) -> Any:
        """The JSON of a signed object, and more, when it is signed by whom it must be."""
        self.at, data = name, ((self.keys if kind == "key" else self.vault) / name).read_bytes()
        record = json.loads(data.partition(b"\n")[0])
        if record["format"] > 0:
            raise Refused(f"{name} has format {record['format']}: take a newer program")
        need(self.root.get("repository") in (None, record["repository"]), "another repository's")
        if kind == "snapshot":
            place = f"w/{record['writer']}/s/{record['sequence']:010}"
            grants = {(writer["id"], writer["epoch"]): writer for writer in self.root["writers"]}
            grant: Any = grants.get((record["writer"], record["epoch"]))
            need(grant and record["domain"] in grant["domains"], "the root knows no such writer")
            last, signer = grant["trusted_through"], grant["key"]
            need(last is None or record["sequence"] <= last, "later than the trust in its writer")
        elif kind == "root":
            place, signer = f"pub/root/{self.root['number'] + 1:010}", record["owner"]
            before = (self.root["hash"], self.root.get("owner", signer))
            need(before == (record["previous"], signer), "it does not follow the one before")
        else:
            place = f"k/{record['domain']}/{record['generation']:010}/{record['number']:010}"
            signer = self.root["owner"]
        need(place == name, f"it was written as {place}")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer))
        key.verify(data[-64:], f"standfast-backup-0 {kind}\0".encode() + data[:-64])
        return record | {"at": name, "data": data, "hash": hashlib.sha256(data).hexdigest()}

    def domain_key(self, domain: str, generation: int) -> Any:
        folder = self.keys / f"k/{domain}/{generation:010}"
        newest = max(folder.glob(TEN_DIGITS), default=folder / "0000000000")
        record = self.record("key", newest.relative_to(self.keys).as_posix())
        try:
            text = pyrage.decrypt(b64decode(record["wrapped"]), self.identities)
        except pyrage.DecryptError:
            why = f"{record['at']} does not open for you, but for {record['custodians']}"
            raise Refused(why) from None
        opened = pyrage.x25519.Identity.from_str(text.decode())
        need(str(opened.to_public()) == record["recipient"], "it holds another key")
        return opened

    def open(self, point: Any) -> None:
        key = self.domain_key(point["domain"], point["generation"])
        self.at, sealed = point["at"], point["data"].partition(b"\n")[2][:-64]
        plain = pyrage.decrypt(sealed, [key])
        self.point, self.body = point, json.loads(plain[4 : 4 + int.from_bytes(plain[:4])])

    def _pack(self, pack: str) -> bytes:
        """Its payload; what is not authentic in it is zeros, which no blob's id will fit."""
        print(f"\r{len(self.files)} of {self.body['files']} files ", end="", file=sys.stderr)
        self.at = name = f"w/{self.point['writer']}/p/{pack[:2]}/{pack}"
        data = (self.vault / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != pack:  # what is whole in it is used all the same
            self.tell(6, f"{name}: its bytes are not those that it is named after")
        names = [self.point[key].encode().ljust(32, b"\0") for key in ("writer", "domain")]
        here = [b"sf-pack\0\0\0", bytes.fromhex(self.root["repository"]), *names]
        need(data[:10] + data[16:96] == b"".join(here), "it is no pack of this place")
        count, generation = int.from_bytes(data[10:12]), int.from_bytes(data[12:16])
        domain_key = self.domain_key(self.point["domain"], generation)
        self.at = name
        key = pyrage.decrypt(data[162 : 162 + int.from_bytes(data[160:162])], [domain_key])
        info = b"standfast-backup-0 pack\0" + data[:128] + bytes(32) + data[160:HEADER]
        derived = HKDF(SHA256(), 64, salt=data[96:128], info=info).derive(key)
        need(derived[32:] == data[128:160], "its key is not the one that it commits to")
        cipher, segments = AESGCM(derived[:32]), []
        for i, at in enumerate(range(HEADER, len(data), SEGMENT)):
            nonce, end = i.to_bytes(11) + bytes([i == count - 1]), at + SEGMENT
            plain = self.attempt(f"segment {i}", cipher.decrypt, nonce, data[at:end], None)
            segments.append(plain or bytes(SEGMENT - 16))
        return b"".join(segments)

    def _frame(self, pack: str, offset: int, stored: int, following: str | None) -> bytes:
        data = self.pack(pack)[offset : offset + stored]
        data += self.pack(following)[: stored - len(data)] if following else b""
        if data[0] == 0:
            return data[1:]
        size = zstandard.get_frame_parameters(data[1:]).content_size
        need(data[0] == 1 and size <= MOST_RAW, "a frame is not of format 0")
        return zstandard.ZstdDecompressor().decompress(data[1:])

    def blob(self, reference: list[Any], packs: list[str] | None) -> bytes:
        """`packs` is the table of the page that the reference is in; a sealed part has none."""
        pack, *place, inner, length, wanted, following = reference
        if packs is not None:
            pack, following = packs[pack], None if following < 0 else packs[following]
        blob = self.frame(pack, *place, following)[inner : inner + length]
        self.at = f"w/{self.point['writer']}/p/{pack[:2]}/{pack}"
        found = blake3(blob, key=bytes.fromhex(self.body["id_key"])).hexdigest()
        need(found == wanted, "a blob in it is not the one that is meant")
        return blob

    def walk(self, depth: int, reference: list[Any], packs: list[str] | None) -> None:
        """Restore what a page and the pages below it list."""
        page, at = json.loads(self.blob(reference, packs)), self.at
        for item in page["items"]:
            self.at = at
            if depth:
                self.attempt(item["first"], self.walk, depth - 1, item["page"], page["packs"])
            else:
                self.attempt(item["path"], self.entry, item, page["packs"])

    def entry(self, entry: Any, packs: list[str]) -> None:
        path, kind = unquote_to_bytes(entry["path"]), entry["kind"]
        where, parts = self.top / os.fsdecode(path), path.split(b"/")
        need(b"\0" not in path and not {b"", b".", b".."} & {*parts}, "an unsafe path is refused")
        for n in range(1, len(parts) + (kind == "directory")):
            if (folder := b"/".join(parts[:n])) not in self.folders:
                (self.top / os.fsdecode(folder)).mkdir()  # fails where a link stands
                self.folders[folder] = None
        if kind == "directory":
            self.folders[path] = entry  # dressed when all is there
            return
        if (first := unquote_to_bytes(entry.get("hard_link", ""))) in self.files:
            where.hardlink_to(self.top / os.fsdecode(first))
        elif kind == "file":
            self.file(where, entry, packs)
        elif kind == "symlink":
            where.symlink_to(os.fsdecode(unquote_to_bytes(entry["target"])))
        else:
            os.mknod(where, TYPES[kind] | 0o600, os.makedev(*entry.get("device", (0, 0))))
        self.dress(where, entry)
        self.files |= {path} if kind == "file" else set()

    def file(self, where: Path, entry: Any, packs: list[str]) -> None:
        pages = [json.loads(self.blob(each, packs)) for each in entry["lists"]]
        pages.append({"items": entry["blobs"], "packs": packs})
        blobs = (self.blob(item, page["packs"]) for page in pages for item in page["items"])
        with where.open("xb") as out:
            try:
                rest = b""
                for start, length in [*entry.get("holes", []), (entry["size"], 0)]:
                    while out.tell() < start:
                        rest = rest or next(blobs)
                        rest = rest[out.write(rest[: start - out.tell()]) :]
                    out.seek(length, os.SEEK_CUR)
                out.truncate()
                need(out.tell() == entry["size"] and next(blobs, rest) == b"", "its size is wrong")
            except BaseException:
                where.unlink()
                raise

    def dress(self, where: Path, entry: Any) -> None:
        if is_root := os.geteuid() == 0:  # before the mode: a new owner costs set-id bits
            os.lchown(where, entry["uid"], entry["gid"])
        if entry["kind"] != "symlink":
            for name, value in entry.get("xattrs", []):
                self.attempt(name, os.setxattr, where, unquote_to_bytes(name), b64decode(value))
            where.chmod(entry["mode"] & (0o7777 if is_root else 0o1777))
        modified = entry["modified"][0] * 10**9 + entry["modified"][1]
        os.utime(where, ns=(modified, modified), follow_symlinks=False)

    def restore(self, point: Any) -> None:
        self.open(point)
        self.top.mkdir(parents=True)
        print("which holds what was finished before", self.body["consistent_at"])
        self.attempt("all of it", self.walk, self.body["depth"], self.body["root"], None)
        for folder, entry in reversed(self.folders.items()):
            if entry:
                self.attempt(entry["path"], self.dress, self.top / os.fsdecode(folder), entry)
        for path, reason in self.body["unread"]:
            self.tell(3, f"{path}: was not read when the point was made: {reason}")
        if point["state"] != "complete":
            self.tell(3, f"{point['at']}: the point itself is {point['state']}")
        print(f"\n{len(self.files)} of {self.body['files']} files; {len(self.told)} faults, above")

    def read_identities(self, file: Path) -> None:
        data = file.read_bytes()
        if data.startswith(b"age-encryption.org/"):
            data = pyrage.passphrase.decrypt(data, getpass.getpass(f"Passphrase of {file}: "))
        lines = data.decode().splitlines()
        pins = [line for line in lines if line.startswith(("# owner: ", "# repository: "))]
        ours = {f"# {pin}: {self.root[pin]}" for pin in ("owner", "repository")}
        need(ours.issuperset(pins), "it was made for another repository")
        age, ssh = pyrage.x25519.Identity.from_str, pyrage.ssh.Identity.from_buffer
        self.identities = [age(line) for line in lines if line.startswith("AGE-SEC")] or [ssh(data)]

    def points(self) -> list[Any]:
        """Interim ones, then the others by time; what is neither one nor known as junk is told."""
        found: list[Any] = []
        for path in sorted(self.vault.glob(f"w/*/s/{TEN_DIGITS}"), reverse=True):
            name = path.relative_to(self.vault).as_posix()
            burnt = {f"w/{point['writer']}/s/{n:010}" for point in found for n in point["burnt"]}
            if name not in burnt and (point := self.attempt(name, self.record, "snapshot", name)):
                found.append(point)
        return sorted(found, key=lambda it: (it["state"] != "interim", it["time"]))

    def run(self, identity_file: str, target: str = "", wanted: str = "") -> None:
        root: Any = self.root
        while root and (self.vault / (name := f"pub/root/{root['number'] + 1:010}")).exists():
            root = self.attempt("all root records from here", self.record, "root", name)
            self.root = root or self.root
        if "owner" not in self.root or 2 in self.told.values():
            raise Refused("VAULT cannot be used without its root records")
        print("Owner's key, to be compared with the recovery card:", self.root["owner"])
        try:
            self.read_identities(Path(identity_file))
        except Exception as error:
            raise Refused(f"{identity_file} cannot be used as identity: {error}") from error
        points = [it for it in self.points() if wanted in ("", it["at"][2:].replace("/s/", "/"))]
        if not points:
            raise Refused("VAULT holds no such point to be believed; without TARGET you get a list")
        for point in points[-1:] if target else points:
            print("{writer}/{sequence:010} {time} {set} {state}".format(**point))
            self.attempt(point["at"], self.restore if target else self.open, point)


def main(arguments: list[str]) -> int:
    if not 3 <= len(arguments) <= 5 or any(map(os.path.lexists, arguments[3:4])):
        print(__doc__)
        return 2
    os.umask(0o077)
    tool = BreakGlass(Path(arguments[0]), Path(arguments[1]), Path(*arguments[3:4]))
    tool.attempt("all of it", tool.run, *arguments[2:])
    return max(tool.told.values(), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
