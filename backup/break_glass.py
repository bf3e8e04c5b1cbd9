#!/usr/bin/env python3
"""Break-glass reader: restore a backup without the rest of Standfast.

You need Linux, Python 3.11 or newer (on Debian and Ubuntu with python3-venv), this file, and:
  VAULT          the vault: a folder with the encrypted backups. It contains "pub" and "w".
  KEYS           the key store or a copy of it, such as the offline folder. It contains "k".
  IDENTITY_FILE  the recovery identity of a custodian: an age or SSH private key, or an age
                 identity file that is encrypted with a passphrase.

1. Install the libraries, on a clean machine and in the folder of this file:
     python3 -m venv glass && glass/bin/pip install cryptography zstandard blake3 pyrage
2. Only if the vault is a bucket: download it, with an access key that may only read.
     glass/bin/pip install boto3
     export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_DEFAULT_REGION=...
     export AWS_ENDPOINT_URL=https://...        (only for a store that is not Amazon S3)
     glass/bin/python break_glass.py download s3://BUCKET/PREFIX VAULT
   Use no other tool: other tools download the newest version of each object, which may be from
   an intruder. This command downloads the first version, which the backup wrote. If the download
   stops, run the command again: it continues.
3. List the recovery points:
     glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE
   Compare the owner's key that it prints with the recovery card. If the keys differ, stop: this
   is not your vault, or somebody replaced it.
4. Restore a recovery point into TARGET, a folder that does not exist yet:
     glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE TARGET POINT
   POINT is a name from the list, such as desk-1/0000000012. Without POINT, the newest point is
   restored, if all points are of one host and one backup set.
   Run this step as root to restore owners, devices and the set-id bits of files.

Damaged content is named and not restored; only verified content is written. FORMAT.md, with a copy
in VAULT/pub/format, describes every byte of a vault and explains the terms of this program.
Exit status: 0 done; 2 refused: wrong arguments, folder or key; 3 partial: something was not
backed up, downloaded or restored; 6 damaged: an object is damaged or missing.
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

DONE, REFUSED, PARTIAL, DAMAGED = 0, 2, 3, 6
HEADER_BYTES, SEGMENT_BYTES, TAG_BYTES = 4096, 65_536, 16
MAX_FRAME_BYTES, MAX_RECORD_BYTES = 8 * 2**20, 2**26
TEN_DIGITS = "[0-9]" * 10  # a glob pattern
FILE_TYPES = {"block-device": stat.S_IFBLK, "character-device": stat.S_IFCHR, "fifo": stat.S_IFIFO}
RECORD_NAMES = {
    "root": "pub/root/{number:010}",
    "snapshot": "w/{writer}/s/{sequence:010}",
    "key": "k/{domain}/{generation:010}/{number:010}",
}
OBJECT_NAME = re.compile(
    r"pub/(root|keep)/\d{10}|pub/(format|reader)/[0-9a-f]{64}|k/[a-z0-9][a-z0-9_-]*/\d{10}/\d{10}"
    r"|w/[a-z0-9][a-z0-9_-]*/(s/\d{10}|p/[0-9a-f]{2}/[0-9a-f]{64})",
    re.ASCII,
)


class Refused(OSError):
    """A wrong argument, folder or key, which is not damage of the vault."""


def require(condition: object, problem: str) -> None:
    """Raise ValueError with the problem unless the condition is true."""
    if not condition:
        raise ValueError(problem)


class BreakGlassReader:
    """A reader of one vault that restores one recovery point into a folder."""

    def __init__(self, vault: Path, keys: Path, target: Path) -> None:
        # Absolute paths, because a restore changes the working folder.
        self.vault, self.keys, self.target = map(Path.absolute, (vault, keys, target))
        self.current_object = ""  # name of the object that is read, for messages about damage
        self.problems: dict[str, int] = {}  # the text of each problem, and its exit status
        self.read_pack = lru_cache(4)(self._decrypt_pack)
        self.read_frame = lru_cache(8)(self._decompress)
        self.root: Any = {"sha256": None, "grants": {}}  # the root record in force
        self.root_links = list[Any]()  # number and SHA-256 of each valid root record
        self.created_folders: dict[bytes, Any] = {}  # manifest entry by path, or None
        self.written_files = set[bytes]()
        self.working_folder: list[bytes] | None = None  # as parts, below the target; None: unknown

    def report(self, status: int, problem: object) -> None:
        """Print a problem once, and record its exit status."""
        text = "".join(c if c.isprintable() else "?" for c in str(problem))
        if text not in self.problems:
            label = {REFUSED: "REFUSED", PARTIAL: "PARTIAL", DAMAGED: "DAMAGED"}[status]
            print(label, text, file=sys.stderr)
        self.problems[text] = status

    def attempt(self, subject: str, action: Any, *arguments: Any) -> Any:
        """Return the result of an action; report a failure and return None."""
        try:
            return action(*arguments)
        except OSError as error:  # FileNotFoundError: the vault or key store lacks an object
            status = {Refused: REFUSED, FileNotFoundError: DAMAGED}.get(type(error), PARTIAL)
            self.report(status, f"{subject}: {error}")
        except Exception as error:  # damaged bytes can cause any exception
            problem = str(error) or type(error).__name__
            self.report(DAMAGED, f"{self.current_object}: {problem} (affects {subject})")
        return None

    def read_record(self, kind: str, name: str) -> Any:
        """Return the verified JSON of a root record, snapshot or key record."""
        self.current_object = name
        path = (self.keys if kind == "key" else self.vault) / name
        require(path.stat().st_size <= MAX_RECORD_BYTES, "it is larger than any record")
        data = path.read_bytes()
        record, digest = json.loads(data.partition(b"\n")[0]), hashlib.sha256(data).hexdigest()
        # The first root record states the owner; a person compares it with the recovery card.
        signer, grants = self.root.get("owner") or record["owner"], self.root["grants"]
        if kind == "snapshot":
            grant = grants.get(("writers", record["writer"], record["epoch"]))
            require(grant, "the root record in force does not list its writer and epoch")
            signer, last_sequence = grant.get("key"), grant.get("trusted_through")
            last_sha256 = grant.get("trusted_sha256")
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer))
        if kind == "key" and record["repository"] != self.root["repository"]:
            raise Refused(f"{name}: of another repository, or damaged. Give another copy as KEYS")
        context = f"standfast-backup-{record['format']} {kind}\0".encode()
        key.verify(data[-64:], context + data[:-64])
        # Checked after the signature: an unsigned record of a later format must not stop a restore.
        if record["format"] != 1:
            raise Refused(f"{name}: format {record['format']} is new. Use a newer break_glass.py")
        expected = (record["kind"], RECORD_NAMES[kind].format(**record))
        require((kind, name) == expected, "it was moved here from another name")
        repository = self.root.get("repository", record["repository"])
        require(record["repository"] == repository, "it belongs to another repository")
        if kind == "snapshot":
            is_last = record["sequence"] == last_sequence and last_sha256 in (None, digest)
            is_trusted = last_sequence is None or record["sequence"] < last_sequence or is_last
            require(is_trusted, "the owner trusts its writer only up to an earlier snapshot")
            require(record["domain"] in grant["domains"], "its writer may not use its domain")
            require(record["root"] in self.root_links, "its root record is not valid")
        elif kind == "root":
            is_next = record["previous"] == self.root["sha256"] and record["owner"] == signer
            require(is_next, "it does not follow the root record before it")
            writers, domains = record["writers"], record["domains"]
            grants = {("writers", each["id"], each["epoch"]): each for each in writers}
            grants |= {("domains", each["id"], each["generation"]): each for each in domains}
            require(len(grants) == len(writers + domains), "it lists a writer or domain twice")
            self.root = record | {"sha256": digest, "grants": grants}  # it is now in force
            self.root_links.append({"number": record["number"], "sha256": digest})
        return record | {"object": name, "data": data}

    def open_domain_key(self, domain: str, generation: int) -> Any:
        """Return the private key of a domain, decrypted with the identity."""
        grant = self.root["grants"].get(("domains", domain, generation))
        require(grant, f"no root record lists domain {domain}, generation {generation}")
        if grant["erased"]:
            raise Refused(f"domain {domain}: its key was erased on {grant['erased']}")
        folder = self.keys / f"k/{domain}/{generation:010}"
        newest = max(folder.glob(TEN_DIGITS), default=None)
        if newest is None:
            raise Refused(f"{folder}: there is no key record. Give another copy as KEYS")
        record = self.read_record("key", newest.relative_to(self.keys).as_posix())
        try:
            text = pyrage.decrypt(b64decode(record["wrapped"]), self.identities)
        except pyrage.DecryptError:
            people = record["custodians"]
            raise Refused(f"IDENTITY_FILE does not open it. Use that of one of {people}") from None
        domain_key = pyrage.x25519.Identity.from_str(text.decode())
        require(str(domain_key.to_public()) == grant["recipient"], "it contains another key")
        return domain_key

    def open_point(self, point: Any) -> None:
        """Decrypt the sealed part of a snapshot, and select its recovery point."""
        domain_key = self.open_domain_key(point["domain"], point["generation"])
        sealed = self.read_record("snapshot", point["object"])["data"].partition(b"\n")[2][:-64]
        # Parsing an age header takes time that grows with the square of its length.
        require(0 < sealed.find(b"\n---") < HEADER_BYTES, "its age header is too long")
        plain = pyrage.decrypt(sealed, [domain_key])
        end = 4 + int.from_bytes(plain[:4])
        self.point, self.body = point, json.loads(plain[4:end])
        require(not any(plain[end:]) and self.body["depth"] <= 8, "its sealed part is not valid")

    def _decrypt_pack(self, pack: str) -> bytes:
        """Return the payload of a pack, with zeros for each damaged segment."""
        written, files = len(self.written_files), self.body["files"]
        print(f"\r{written} of {files} files ", end="", file=sys.stderr)
        self.current_object = name = f"w/{self.point['writer']}/p/{pack[:2]}/{pack}"
        data = (self.vault / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != pack:  # its undamaged segments are used
            self.report(DAMAGED, f"{name}: its SHA-256 is not its name")
        owners = [self.point[field].encode().ljust(32, b"\0") for field in ("writer", "domain")]
        expected = [b"sf-pack\0\0\1", bytes.fromhex(self.root["repository"]), *owners]
        require(data[:10] + data[16:96] == b"".join(expected), "its header is of another pack")
        segments, generation = int.from_bytes(data[10:12]), int.from_bytes(data[12:16])
        domain_key = self.open_domain_key(self.point["domain"], generation)
        self.current_object = name  # it was the name of a key record
        file_key = pyrage.decrypt(data[162 : 162 + int.from_bytes(data[160:162])], [domain_key])
        # The derivation covers the header, with zeros for the commitment itself.
        info = b"standfast-backup-1 pack\0" + data[:128] + bytes(32) + data[160:HEADER_BYTES]
        derived = HKDF(SHA256(), 64, salt=data[96:128], info=info).derive(file_key)
        require(len(file_key) == 32 and derived[32:] == data[128:160], "its key and header differ")
        cipher, payload = AESGCM(derived[:32]), b""
        for index, start in enumerate(range(HEADER_BYTES, len(data), SEGMENT_BYTES)):
            nonce = index.to_bytes(11) + bytes([index == segments - 1])
            sealed = (nonce, data[start : start + SEGMENT_BYTES], None)
            plain = self.attempt(f"segment {index}", cipher.decrypt, *sealed)
            # `read_blob` refuses zeros: they do not have the id of the blob.
            payload += plain or bytes(SEGMENT_BYTES - TAG_BYTES)
        return payload

    def _decompress(self, pack: str, offset: int, stored: int, next_pack: str | None) -> bytes:
        """Return the raw bytes of a frame, which may continue in the next pack."""
        data = self.read_pack(pack)[offset : offset + stored]
        data += self.read_pack(next_pack)[: stored - len(data)] if next_pack else b""
        if data[0] == 0:  # not compressed
            return data[1:]
        size = zstandard.frame_content_size(data[1:])
        require(data[0] == 1 and 0 <= size <= MAX_FRAME_BYTES, "a frame is not of format 1")
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME_BYTES)
        return decompressor.decompress(data[1:], allow_extra_data=False)

    def read_blob(self, reference: list[Any], packs: list[str] | None) -> bytes:
        """Return the verified content of a blob."""
        pack, offset, stored, inner, length, blob_id, next_pack = reference
        if packs is not None:  # a page refers to packs by their index; a sealed part does not
            pack, next_pack = packs[pack], None if next_pack < 0 else packs[next_pack]
        blob = self.read_frame(pack, offset, stored, next_pack)[inner : inner + length]
        self.current_object = f"w/{self.point['writer']}/p/{pack[:2]}/{pack}"
        found_id = blake3(blob, key=bytes.fromhex(self.body["id_key"])).hexdigest()
        require(found_id == blob_id, "the id of a blob does not match its content")
        return blob

    def restore_page(self, depth: int, reference: Any, packs: Any, expected: Any = None) -> None:
        """Restore the entries of a manifest page and of the pages below it."""
        page, page_object = json.loads(self.read_blob(reference, packs)), self.current_object
        fields = ("first", "last") if depth else ("path", "path")
        ranges = [tuple(item[field] for field in fields) for item in page["items"]]
        # With 0x00 for "/", the order of the bytes is the order of paths in FORMAT.md.
        order = [unquote_to_bytes(path).replace(b"/", b"\0") for pair in ranges for path in pair]
        # `expected` is the first and last path that the parent page states.
        is_expected = expected in (None, (ranges[0][0], ranges[-1][1]))
        # No overlap: a page that occurs twice could make a small vault an endless restore.
        is_ordered = order == sorted(order) and all(map(bytes.__lt__, order[1::2], order[2::2]))
        require(is_expected and is_ordered, "it is not the page that its parent describes")
        for item, pair in zip(page["items"], ranges, strict=True):
            self.current_object, table = page_object, page["packs"]
            below = (self.restore_page, depth - 1, item.get("page"), table, pair)
            self.attempt(pair[0], *(below if depth else (self.restore_entry, item, table)))

    def enter_parent(self, path: bytes) -> Path:
        """Change to the parent folder of a path; return the path's last part."""
        *folders, name = path.split(b"/")
        if folders != self.working_folder:
            self.working_folder = None  # if a step fails, the next call starts from the target
            os.chdir(self.target)
            for folder in folders:  # one by one: a path may be too long for one system call
                os.chdir(folder)
            self.working_folder = folders
        return Path(os.fsdecode(name))

    def restore_entry(self, entry: Any, packs: list[str]) -> None:
        """Create the file, folder, link or device of a manifest entry."""
        path, kind = unquote_to_bytes(entry["path"]), entry["kind"]
        parts = path.split(b"/")
        require(b"\0" not in path and not {b"", b".", b".."} & {*parts}, "a path is not safe")
        for count in range(1, len(parts) + (kind == "directory")):
            if (folder := b"/".join(parts[:count])) not in self.created_folders:
                # It fails if the path exists, so that no symbolic link leads out of the target.
                self.enter_parent(folder).mkdir()
                self.created_folders[folder] = None
        if kind == "directory":
            self.created_folders[path] = entry  # `restore` sets its attributes at the end
            return
        # A hard link is made only to a file that this restore wrote, never to another file.
        if (first := unquote_to_bytes(entry.get("hard_link", ""))) in self.written_files:
            name, first_folder = self.enter_parent(first), os.open(".", os.O_PATH)
            os.link(name, self.enter_parent(path), src_dir_fd=first_folder)
            os.close(first_folder)
        elif kind == "file":
            self.write_file(self.enter_parent(path), entry, packs)
        elif kind == "symlink":
            self.enter_parent(path).symlink_to(os.fsdecode(unquote_to_bytes(entry["target"])))
        else:
            device = os.makedev(*entry.get("device", (0, 0)))
            os.mknod(self.enter_parent(path), FILE_TYPES[kind] | 0o600, device)
        self.set_attributes(path, entry)
        self.written_files |= {path} if kind == "file" else set()

    def write_file(self, file: Path, entry: Any, packs: list[str]) -> None:
        """Write the content and holes of a file; delete it on a failure."""
        inline, lists = {"items": entry["blobs"], "packs": packs}, [*entry["lists"], None]
        pages = (json.loads(self.read_blob(each, packs)) if each else inline for each in lists)
        blobs = (self.read_blob(item, page["packs"]) for page in pages for item in page["items"])
        with file.open("xb") as out:
            try:
                rest = b""  # the part of the current blob that is not written yet
                for start, length in [*entry.get("holes", []), (entry["size"], 0)]:
                    while out.tell() < start:
                        rest = rest or next(blobs)
                        rest = rest[out.write(rest[: start - out.tell()]) :]
                    out.seek(length, os.SEEK_CUR)
                out.truncate()
                require(out.tell() == entry["size"] and next(blobs, rest) == b"", "wrong size")
            except BaseException:
                file.unlink()
                raise

    def set_attributes(self, path: bytes, entry: Any) -> None:
        """Set owner, extended attributes, mode and time of a restored path."""
        name = self.enter_parent(path)
        if is_root := os.geteuid() == 0:  # before the mode: chown clears the set-id bits
            os.lchown(name, entry["uid"], entry["gid"])
        if entry["kind"] != "symlink":
            for text, value in entry.get("xattrs", []):
                self.attempt(text, os.setxattr, name, unquote_to_bytes(text), b64decode(value))
            # Without its owner, a set-id file would run with the rights of the restoring user.
            keeps_set_id = is_root or entry["kind"] == "directory"
            name.chmod(entry["mode"] & (0o7777 if keeps_set_id else 0o1777))
        modified_ns = entry["modified"][0] * 10**9 + entry["modified"][1]
        os.utime(name, ns=(modified_ns, modified_ns), follow_symlinks=False)

    def restore(self, point: Any) -> None:
        """Restore a recovery point into the target, and print a summary."""
        self.open_point(point)
        self.target.mkdir(parents=True)
        self.attempt("all files", self.restore_page, self.body["depth"], self.body["root"], None)
        # Inner folders come first: each change inside a folder changes the time of the folder.
        for folder, entry in reversed(self.created_folders.items()):
            if entry:
                self.attempt(entry["path"], self.set_attributes, folder, entry)
        for path, reason in self.body["unread"]:
            self.report(PARTIAL, f"{path}: it was not read when the point was made: {reason}")
        if point["state"] != "complete":
            self.report(PARTIAL, f"{point['object']}: the point itself is {point['state']}")
        print(f"\nThe point contains every change before {self.body['consistent_at']}:")
        found = f"{len(self.problems)} problems, listed above" if self.problems else "no problems"
        print(f"{len(self.written_files)} of {self.body['files']} files; {found}")

    def check_folders(self) -> None:
        """Refuse wrong folders, before a missing object is reported as damage."""
        for name, folder, inner in (("VAULT", self.vault, "pub/root"), ("KEYS", self.keys, "k")):
            if not (folder / inner).is_dir():
                raise Refused(f"{folder}: it contains no {inner}. Give another folder as {name}")

    def read_identities(self, file: Path) -> None:
        """Read the identity file; ask for its passphrase if it is encrypted."""
        data = file.read_bytes()
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            print(f"WARNING {file}: others can read it. Run chmod 600 {file}", file=sys.stderr)
        if data.startswith(b"age-encryption.org/"):
            data = pyrage.passphrase.decrypt(data, getpass.getpass(f"Passphrase of {file}: "))
        lines = data.decode().splitlines()
        pins = [line for line in lines if line.startswith(("# owner: ", "# repository: "))]
        expected = {f"# {field}: {self.root[field]}" for field in ("owner", "repository")}
        require(expected.issuperset(pins), "it was made for another repository")
        age, ssh = pyrage.x25519.Identity.from_str, pyrage.ssh.Identity.from_buffer
        self.identities = [age(line) for line in lines if line.startswith("AGE-SEC")] or [ssh(data)]

    def list_points(self) -> list[Any]:
        """Return the trusted points: interim points first, the newest last."""
        points, next_times, skipped = list[Any](), dict[str, str](), set[str]()
        for path in sorted(self.vault.glob(f"w/*/s/{TEN_DIGITS}"), reverse=True):
            name = path.relative_to(self.vault).as_posix()
            # If a later point lists this object as invalid, its error is not reported. But if it is
            # valid, it is used: an intruder with the writer's key could hide points by such a list.
            reported = partial(self.attempt, name, self.read_record)
            read = self.read_record if name in skipped else reported
            with suppress(Exception):
                if point := read("snapshot", name):
                    writer = point["writer"]
                    skipped |= {f"w/{writer}/s/{sequence:010}" for sequence in point["burnt"]}
                    # A point ranks no later than the next point of its writer, even if the clock
                    # was wrong. "A" sorts after the digits of any time.
                    next_times[writer] = min(point["time"], next_times.get(writer, "A"))
                    # The large fields are dropped to save memory; `open_point` reads them again.
                    large = dict.fromkeys(("data", "packs", "uses", "burnt"))
                    points.append(point | large | {"rank": next_times[writer]})
        return sorted(points, key=lambda it: (it["state"] != "interim", it["rank"], it["sequence"]))

    def run(self, identity_file: str, target: str = "", point_name: str = "") -> None:
        """List the recovery points, or restore a point if there is a target."""
        self.check_folders()
        for path in sorted(self.vault.glob(f"pub/root/{TEN_DIGITS}")):
            name = path.relative_to(self.vault).as_posix()
            self.attempt("the list of writers", self.read_record, "root", name)
        if "owner" not in self.root or REFUSED in self.problems.values():
            raise Refused(f"{self.vault}: no usable root record. Give another copy as VAULT")
        print("Owner's key, to be compared with the recovery card:", self.root["owner"])
        try:
            self.read_identities(Path(identity_file))
        except Exception as error:
            raise Refused(f"{identity_file}: not usable as IDENTITY_FILE: {error}") from error
        points = self.list_points()
        if point_name:  # such as "desk-1/0000000012" for the object "w/desk-1/s/0000000012"
            points = [it for it in points if it["object"][2:].replace("/s/", "/") == point_name]
        if not points:
            raise Refused("VAULT: no trusted point, or none named POINT. To list all, omit TARGET")
        newest = {(it["writer"], it["set"]): it for it in points}
        is_ambiguous = bool(target) and len(newest) > 1
        for point in newest.values() if is_ambiguous else points[-1:] if target else points:
            print("{writer}/{sequence:010} {time} {set} {state}".format(**point))
            if not is_ambiguous:
                self.attempt(point["object"], self.restore if target else self.open_point, point)
        if is_ambiguous:
            raise Refused("POINT: several hosts or sets have points. Name one of the points above")


def download(source: str, folder: Path) -> int:
    """Download the first version of each object, or continue a download."""
    import boto3  # here, because only a vault in a bucket needs it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    marker = folder / ".first-versions"  # without it, the files may be later versions
    if folder.exists() and not (marker.exists() and marker.read_text() == source):
        print(f"REFUSED {folder}: not from this download. Name a new folder", file=sys.stderr)
        return REFUSED
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    prefix = prefix and prefix.rstrip("/") + "/"
    style = "path" if os.environ.get("AWS_ENDPOINT_URL") else "auto"
    first_versions, left_out = dict[str, str](), 0

    def fetch(name: str) -> None:
        target, version = folder / name, {"VersionId": first_versions[name]}
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
            left_out += name in first_versions or not OBJECT_NAME.fullmatch(name)
            if OBJECT_NAME.fullmatch(name):
                first_versions[name] = row["VersionId"]  # S3 lists the oldest version last
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(source)
        with ThreadPoolExecutor(8) as pool:
            for number, _ in enumerate(pool.map(fetch, first_versions), 1):
                print(f"\r{number} of {len(first_versions)} objects ", end="", file=sys.stderr)
    except (BotoCoreError, ClientError, OSError) as error:
        print(f"\nPARTIAL {source}: {error}. Run this again: it continues.", file=sys.stderr)
        return PARTIAL
    print(f"\n{len(first_versions)} objects in their first version; {left_out} others left out")
    return DONE if first_versions else REFUSED


def main(arguments: list[str]) -> int:
    """Run the command with its arguments; return the exit status."""
    os.umask(0o077)  # restored content is private until its own mode is set
    if len(arguments) == 3 and arguments[0] == "download":
        return download(arguments[1], Path(arguments[2]))
    is_taken = any(map(os.path.lexists, arguments[3:4]))
    if is_taken or not 3 <= len(arguments) <= 5:
        print(__doc__, "TARGET: this path exists already. Name a new folder." if is_taken else "")
        return REFUSED
    reader = BreakGlassReader(Path(arguments[0]), Path(arguments[1]), Path(*arguments[3:4]))
    with chdir("."):  # return to the caller's working folder after the restore
        reader.attempt("break_glass", reader.run, *arguments[2:])
    return max(reader.problems.values(), default=DONE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
