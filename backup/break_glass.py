#!/usr/bin/env python3
"""Break glass: restore a recovery point when nothing else of this program is left.

You need Linux, Python 3.11 or newer (on Debian and Ubuntu with python3-venv), this file, and:
    python3 -m venv glass && glass/bin/pip install cryptography zstandard blake3 pyrage
You type, to list the points, or to restore one ("desk-1/0000000012", as listed):
    glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE [TARGET [POINT]]
Without POINT it restores the newest, where all points are of one host and one set.
VAULT has the backups as a folder ("pub" and "w" in it). Download a bucket with this file and with
nothing else: others fetch the newest version of a name, which may be an intruder's; this fetches
the first, which is the backup's. It takes `pip install boto3` and a key that may only read:
    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_DEFAULT_REGION=...
    export AWS_ENDPOINT_URL=https://...                    (for a store that is not Amazon's)
    glass/bin/python break_glass.py download s3://BUCKET/PREFIX VAULT
KEYS is a folder with key records ("k" in it): the key store or a copy, such as the offline folder.
IDENTITY_FILE is a custodian's private key (age or ssh; or an age file under a passphrase). TARGET
is a folder not there yet. Be root if owners, set-id bits and devices are to come back.
What is damaged is named and left out; nothing written is a guess. FORMAT.md has every byte.
Exit status: 0 done; 2 wrong use or key; 3 partial: not all came back, or was read; 6 damaged.
"""

import getpass
import hashlib
import json
import os
import re
import stat
import sys
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, suppress
from functools import lru_cache, partial
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
PLACES = {"root": "pub/root/{number:010}", "snapshot": "w/{writer}/s/{sequence:010}"}
OBJECT = re.compile(
    r"pub/(root|keep)/\d{10}|pub/(format|reader)/[0-9a-f]{64}|k/[a-z0-9][a-z0-9_-]*/\d{10}/\d{10}"
    r"|w/[a-z0-9][a-z0-9_-]*/(s/\d{10}|p/[0-9a-f]{2}/[0-9a-f]{64})",
    re.ASCII,
)
PLACES["key"] = "k/{domain}/{generation:010}/{number:010}"


class Refused(OSError): ...  # wrong use or wrong key


def need(condition: object, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


class BreakGlass:
    def __init__(self, vault: Path, keys: Path, top: Path) -> None:
        self.vault, self.keys, self.top = map(Path.absolute, (vault, keys, top))
        self.at = ""  # the object being read: what does not fit is its damage
        self.told: dict[str, int] = {}  # what went wrong, and the exit status that it leads to
        self.pack, self.frame = lru_cache(4)(self._pack), lru_cache(8)(self._frame)
        self.root: Any = {"hash": None, "grants": {}}  # the record in force
        self.folders: dict[bytes, Any] = {}  # those made, and their entries where they have one
        self.files, self.links = set[bytes](), list[Any]()  # written; root records, as named
        self.here: list[bytes] | None = None  # the folder that we are in

    def tell(self, status: int, what: object) -> None:
        text = "".join(c if c.isprintable() else "?" for c in str(what))
        if text not in self.told:
            print({2: "REFUSED", 3: "INCOMPLETE", 6: "DAMAGED"}[status], text, file=sys.stderr)
        self.told[text] = status

    def attempt(self, what: str, action: Any, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except OSError as error:  # FileNotFoundError: an object is missing; else a path's trouble
            self.tell({Refused: 2, FileNotFoundError: 6}.get(type(error), 3), f"{what}: {error}")
        except Exception as error:  # whatever bytes that do not fit may lead to
            self.tell(6, f"{self.at}: {str(error) or type(error).__name__} (for {what})")
        return None

    def record(self, kind: str, name: str) -> Any:
        """The JSON of a signed object, and more, when it is signed by whom it must be."""
        self.at, path = name, (self.keys if kind == "key" else self.vault) / name
        need(path.stat().st_size <= 2**26, "it is larger than any such object")
        data = path.read_bytes()
        record, digest = json.loads(data.partition(b"\n")[0]), hashlib.sha256(data).hexdigest()
        signer, grants = self.root.get("owner") or record["owner"], self.root["grants"]
        if kind == "snapshot":
            trusted = grants["writers", record["writer"], record["epoch"]]
            signer, last, pinned = map(trusted.get, ("key", "trusted_through", "trusted_sha256"))
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer))
        if kind == "key" and record["repository"] != self.root["repository"]:
            raise Refused(f"{name}: it is of another repository. KEYS is a wrong folder or damaged")
        context = f"standfast-backup-{record['format']} {kind}\0".encode()
        key.verify(data[-64:], context + data[:-64])
        if record["format"] != 1:  # believed from its signer only, so that junk stops nobody
            raise Refused(f"{name} has format {record['format']}: take a newer program")
        need((kind, name) == (record["kind"], PLACES[kind].format(**record)), "it was moved here")
        need(self.root.get("repository") in (None, record["repository"]), "another repository's")
        if kind == "snapshot":
            is_last = record["sequence"] == last and pinned in (None, digest)
            need(last is None or record["sequence"] < last or is_last, "beyond the owner's trust")
            need(record["domain"] in trusted["domains"] and record["root"] in self.links, "denied")
        elif kind == "root":
            need(record["previous"] == self.root["hash"] and record["owner"] == signer, "no chain")
            grants = {("writers", it["id"], it["epoch"]): it for it in record["writers"]}
            grants |= {("domains", it["id"], it["generation"]): it for it in record["domains"]}
            need(len(grants) == len(record["writers"] + record["domains"]), "it grants twice")
            self.root = record | {"hash": digest, "grants": grants}
            self.links.append({"number": record["number"], "sha256": digest})
        return record | {"at": name, "data": data}

    def domain_key(self, domain: str, generation: int) -> Any:
        grant = self.root["grants"]["domains", domain, generation]
        if grant["erased"]:
            raise Refused(f"domain {domain} was erased, and its key given up, on {grant['erased']}")
        folder = self.keys / f"k/{domain}/{generation:010}"
        newest = max(folder.glob(TEN_DIGITS), default=None)
        if newest is None:
            raise Refused(f"{folder} has no key record: take another copy of KEYS")
        record = self.record("key", newest.relative_to(self.keys).as_posix())
        try:
            text = pyrage.decrypt(b64decode(record["wrapped"]), self.identities)
        except pyrage.DecryptError:
            raise Refused(f"it does not open for you, but for {record['custodians']}") from None
        opened = pyrage.x25519.Identity.from_str(text.decode())
        need(str(opened.to_public()) == grant["recipient"], "it holds another key")
        return opened

    def open(self, point: Any) -> None:
        key = self.domain_key(point["domain"], point["generation"])
        sealed = self.record("snapshot", point["at"])["data"].partition(b"\n")[2][:-64]
        need(0 < sealed.find(b"\n---") < HEADER, "its sealed part is none for one key")
        plain = pyrage.decrypt(sealed, [key])
        end = 4 + int.from_bytes(plain[:4])
        self.point, self.body = point, json.loads(plain[4:end])
        need(not any(plain[end:]) and self.body["depth"] <= 8, "its sealed part does not fit")

    def _pack(self, pack: str) -> bytes:
        """Its payload; what is not authentic in it is zeros, which no blob's id will fit."""
        print(f"\r{len(self.files)} of {self.body['files']} files ", end="", file=sys.stderr)
        self.at = name = f"w/{self.point['writer']}/p/{pack[:2]}/{pack}"
        data = (self.vault / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != pack:  # what is whole in it is used all the same
            self.tell(6, f"{name}: its bytes are not those that it is named after")
        names = [self.point[key].encode().ljust(32, b"\0") for key in ("writer", "domain")]
        here = [b"sf-pack\0\0\1", bytes.fromhex(self.root["repository"]), *names]
        need(data[:10] + data[16:96] == b"".join(here), "it is no pack of this place")
        count, generation = int.from_bytes(data[10:12]), int.from_bytes(data[12:16])
        domain_key = self.domain_key(self.point["domain"], generation)
        self.at = name
        key = pyrage.decrypt(data[162 : 162 + int.from_bytes(data[160:162])], [domain_key])
        info = b"standfast-backup-1 pack\0" + data[:128] + bytes(32) + data[160:HEADER]
        derived = HKDF(SHA256(), 64, salt=data[96:128], info=info).derive(key)
        need(len(key) == 32 and derived[32:] == data[128:160], "its header does not fit its key")
        cipher, payload, blank = AESGCM(derived[:32]), b"", bytes(SEGMENT - 16)
        for i, at in enumerate(range(HEADER, len(data), SEGMENT)):
            sealed = (i.to_bytes(11) + bytes([i == count - 1]), data[at : at + SEGMENT], None)
            payload += self.attempt(f"segment {i}", cipher.decrypt, *sealed) or blank
        return payload

    def _frame(self, pack: str, offset: int, stored: int, following: str | None) -> bytes:
        data = self.pack(pack)[offset : offset + stored]
        data += self.pack(following)[: stored - len(data)] if following else b""
        if data[0] == 0:
            return data[1:]
        size = zstandard.frame_content_size(data[1:])
        need(data[0] == 1 and 0 <= size <= MOST_RAW, "a frame is not of format 1")
        opener = zstandard.ZstdDecompressor(max_window_size=MOST_RAW)
        return opener.decompress(data[1:], allow_extra_data=False)

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

    def walk(self, depth: int, reference: list[Any], packs: Any, listed: Any = None) -> None:
        """Restore what a page and the pages below it list; its parent said from where to where."""
        page, at = json.loads(self.blob(reference, packs)), self.at
        names = ("first", "last") if depth else ("path", "path")
        ends = [tuple(item[name] for name in names) for item in page["items"]]
        order = [unquote_to_bytes(text).replace(b"/", b"\0") for pair in ends for text in pair]
        is_meant = listed in (None, (ends[0][0], ends[-1][1])) and order == sorted(order)
        need(is_meant and all(map(bytes.__lt__, order[1::2], order[2::2])), "not the page meant")
        for item, pair in zip(page["items"], ends, strict=True):
            self.at, table = at, page["packs"]
            below = (self.walk, depth - 1, item.get("page"), table, pair)
            self.attempt(pair[0], *(below if depth else (self.entry, item, table)))

    def go_to(self, path: bytes) -> Path:
        """Its name, in its folder: a whole path may be longer than the kernel takes at once."""
        *folders, name = path.split(b"/")
        if folders != self.here:
            self.here = None
            os.chdir(self.top)
            for folder in folders:
                os.chdir(folder)
            self.here = folders
        return Path(os.fsdecode(name))

    def entry(self, entry: Any, packs: list[str]) -> None:
        path, kind = unquote_to_bytes(entry["path"]), entry["kind"]
        parts = path.split(b"/")
        need(b"\0" not in path and not {b"", b".", b".."} & {*parts}, "an unsafe path is refused")
        for n in range(1, len(parts) + (kind == "directory")):
            if (folder := b"/".join(parts[:n])) not in self.folders:
                self.go_to(folder).mkdir()  # fails where a link stands
                self.folders[folder] = None
        if kind == "directory":
            self.folders[path] = entry  # dressed when all is there
            return
        if (first := unquote_to_bytes(entry.get("hard_link", ""))) in self.files:
            name, beside = self.go_to(first), os.open(".", os.O_PATH)
            os.link(name, self.go_to(path), src_dir_fd=beside)
            os.close(beside)
        elif kind == "file":
            self.file(self.go_to(path), entry, packs)
        elif kind == "symlink":
            self.go_to(path).symlink_to(os.fsdecode(unquote_to_bytes(entry["target"])))
        else:
            device = os.makedev(*entry.get("device", (0, 0)))
            os.mknod(self.go_to(path), TYPES[kind] | 0o600, device)
        self.dress(path, entry)
        self.files |= {path} if kind == "file" else set()

    def file(self, where: Path, entry: Any, packs: list[str]) -> None:
        own, lists = {"items": entry["blobs"], "packs": packs}, [*entry["lists"], None]
        pages = (json.loads(self.blob(each, packs)) if each else own for each in lists)
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

    def dress(self, path: bytes, entry: Any) -> None:
        where = self.go_to(path)
        if is_root := os.geteuid() == 0:  # before the mode: a new owner costs set-id bits
            os.lchown(where, entry["uid"], entry["gid"])
        if entry["kind"] != "symlink":
            for name, value in entry.get("xattrs", []):
                self.attempt(name, os.setxattr, where, unquote_to_bytes(name), b64decode(value))
            keeps_set_id = is_root or entry["kind"] == "directory"  # of a file it gives rights away
            where.chmod(entry["mode"] & (0o7777 if keeps_set_id else 0o1777))
        modified = entry["modified"][0] * 10**9 + entry["modified"][1]
        os.utime(where, ns=(modified, modified), follow_symlinks=False)

    def restore(self, point: Any) -> None:
        self.open(point)
        self.top.mkdir(parents=True)
        self.attempt("all of it", self.walk, self.body["depth"], self.body["root"], None)
        for folder, entry in reversed(self.folders.items()):
            if entry:
                self.attempt(entry["path"], self.dress, folder, entry)
        for path, reason in self.body["unread"]:
            self.tell(3, f"{path}: was not read when the point was made: {reason}")
        if point["state"] != "complete":
            self.tell(3, f"{point['at']}: the point itself is {point['state']}")
        print(f"\nIt holds what was finished before {self.body['consistent_at']}:")
        print(f"{len(self.files)} of {self.body['files']} files; {len(self.told)} faults, above")

    def check_folders(self) -> None:
        """Call a wrong folder wrong, before anything that it lacks is called damaged."""
        for name, folder, inner in (("VAULT", self.vault, "pub/root"), ("KEYS", self.keys, "k")):
            if not (folder / inner).is_dir():
                raise Refused(f"{folder} is a wrong folder for {name}: there is no {inner} in it")

    def read_identities(self, file: Path) -> None:
        data = file.read_bytes()
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            print(f"WARNING others on this machine can read {file}: chmod 600", file=sys.stderr)
        if data.startswith(b"age-encryption.org/"):
            data = pyrage.passphrase.decrypt(data, getpass.getpass(f"Passphrase of {file}: "))
        lines = data.decode().splitlines()
        pins = [line for line in lines if line.startswith(("# owner: ", "# repository: "))]
        ours = {f"# {pin}: {self.root[pin]}" for pin in ("owner", "repository")}
        need(ours.issuperset(pins), "it was made for another repository")
        age, ssh = pyrage.x25519.Identity.from_str, pyrage.ssh.Identity.from_buffer
        self.identities = [age(line) for line in lines if line.startswith("AGE-SEC")] or [ssh(data)]

    def points(self) -> list[Any]:
        """Interim ones, then the others by time: none later than what its writer made after it."""
        found, latest, burnt = list[Any](), dict[str, str](), set[str]()
        for path in sorted(self.vault.glob(f"w/*/s/{TEN_DIGITS}"), reverse=True):
            name = path.relative_to(self.vault).as_posix()
            read = self.record if name in burnt else partial(self.attempt, name, self.record)
            with suppress(Exception):  # burnt: junk, and no damage; or a point that one would hide
                if point := read("snapshot", name):
                    burnt |= {f"w/{point['writer']}/s/{n:010}" for n in point["burnt"]}
                    latest[point["writer"]] = min(point["time"], latest.get(point["writer"], "A"))
                    large = dict.fromkeys(("data", "packs", "uses", "burnt"))  # read when needed
                    found.append(point | large | {"when": latest[point["writer"]]})
        return sorted(found, key=lambda it: (it["state"] != "interim", it["when"], it["sequence"]))

    def run(self, identity_file: str, target: str = "", wanted: str = "") -> None:
        self.check_folders()
        for path in sorted(self.vault.glob(f"pub/root/{TEN_DIGITS}")):
            self.attempt("who may", self.record, "root", path.relative_to(self.vault).as_posix())
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
        newest = {(it["writer"], it["set"]): it for it in points}
        is_unclear = bool(target) and len(newest) > 1
        for point in newest.values() if is_unclear else points[-1:] if target else points:
            print("{writer}/{sequence:010} {time} {set} {state}".format(**point))
            if not is_unclear:
                self.attempt(point["at"], self.restore if target else self.open, point)
        if is_unclear:
            raise Refused("several hosts or sets have points: name one of these as POINT")


def download(source: str, folder: Path) -> int:
    """Download the first version of each object of a bucket, or go on with that."""
    import boto3  # only a bucket needs it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    begun = folder / ".first-versions"  # without it a file may be another version
    if folder.exists() and not (begun.exists() and begun.read_text() == source):
        print(f"REFUSED {folder} was not made by this: name a new folder", file=sys.stderr)
        return 2
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    prefix = prefix and prefix.rstrip("/") + "/"
    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"
    first, left_out = dict[str, str](), 0

    def fetch(name: str) -> None:
        target, version = folder / name, {"VersionId": first[name]}
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.part")
            client.download_file(bucket, prefix + name, str(draft), version)
            draft.rename(target)

    try:
        client = boto3.client("s3", config=Config(s3={"addressing_style": style}))
        pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
        for row in (row for page in pages for row in page.get("Versions", [])):
            name = row["Key"].removeprefix(prefix)
            left_out += name in first or not OBJECT.fullmatch(name)
            if OBJECT.fullmatch(name):
                first[name] = row["VersionId"]  # S3 lists the newest first: the last one counts
        folder.mkdir(parents=True, exist_ok=True)
        begun.write_text(source)
        with ThreadPoolExecutor(8) as pool:
            for number, _ in enumerate(pool.map(fetch, first), 1):
                print(f"\r{number} of {len(first)} objects ", end="", file=sys.stderr)
    except (BotoCoreError, ClientError, OSError) as error:
        print(f"\nINCOMPLETE {error}. Run this again: it goes on", file=sys.stderr)
        return 3
    print(f"\n{len(first)} objects in their first version; {left_out} others were left out")
    return 0 if first else 2


def main(arguments: list[str]) -> int:
    os.umask(0o077)
    if len(arguments) == 3 and arguments[0] == "download":
        return download(arguments[1], Path(arguments[2]))
    is_taken = any(map(os.path.lexists, arguments[3:4]))
    if is_taken or not 3 <= len(arguments) <= 5:
        print(__doc__, "TARGET is there already: name a new folder." if is_taken else "")
        return 2
    tool = BreakGlass(Path(arguments[0]), Path(arguments[1]), Path(*arguments[3:4]))
    with chdir("."):
        tool.attempt("all of it", tool.run, *arguments[2:])
    return max(tool.told.values(), default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
