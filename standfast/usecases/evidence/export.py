"""Export of evidence: masked, or in clear with a reason; index, draft.

Rules
- An export is masked: values such as card numbers are replaced. A person who states a reason gets
  an unmasked export.
- The incident's timeline and each folder's chain of custody record each export: a masked export
  before the new folder gets its final name, an unmasked export before anything is copied.
- Masked copies are not evidence; the sealed (signed) folders remain the evidence. The index
  `masked.jsonl` has the hash of each original, with the number of masked values, or with the reason
  why the original has no copy. The timeline contains the hash of the index.
- A folder that differs from its seal, its chain of custody or the ledger (the database) is omitted
  and reported. A file that differs from its hash is reported; only an unmasked export copies it.
- To mask encrypted evidence, the identity of a custodian (a person that can decrypt it) must open
  each folder before anything is written. An unmasked export copies encrypted evidence unchanged.
- Nothing is overwritten. An interrupted export leaves a folder with a name that ends with `.draft`.
"""

import hashlib
import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, ExitStatus, StandfastError, UsageError
from standfast.evidence.custody import Act, append_custody, verify_custody
from standfast.evidence.item_file import FILES_FOLDER, open_item
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.masked_copy import copy_masked
from standfast.evidence.private_files import make_private, sync_folder, sync_tree
from standfast.evidence.seal import manifest_hash, read_sealed, verify_seal
from standfast.evidence.text_masking import Masked, mask_text
from standfast.records import Json, JsonObject, canonical, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.evidence_record import EXPORTED, Recorded, recorded_evidence
from standfast.usecases.evidence.frozen_folders import Frozen, frozen, no_evidence_found
from standfast.usecases.evidence.item_opening import custodian_keys, data_key
from standfast.usecases.evidence.playbook_review import REVIEWS

FORMAT = "standfast-masked/1"
INDEX_FILE = "masked.jsonl"
DISPOSED_OF = "was disposed of"
_CHANGED = "differs from its seal"
_NOTE = (
    "Masked copies, for reading; not evidence. Only card numbers, social-security numbers and mail "
    "addresses in them are masked. The originals are sealed, with these hashes."
)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST_NAME = 120

Progress = Callable[[int, int], object]  # called with bytes done and total bytes


@dataclass(kw_only=True)
class ExportedEvidence:
    """The result of an export."""

    folder: Path
    is_masked: bool
    files: int = 0
    masked: Masked = field(default_factory=Masked)
    index: str = ""  # SHA-256 of the index; "" for an unmasked export
    left_out: Counter[str] = field(default_factory=Counter)  # number of omitted files, by reason
    altered: list[str] = field(default_factory=list)  # files that differ from their sealed hash
    unsound: tuple[str, ...] = ()  # sources of evidence with an invalid or missing folder

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED for altered evidence, PARTIAL for omitted files, else DONE."""
        if self.altered or self.unsound:
            return ExitStatus.DAMAGED
        return ExitStatus.PARTIAL if self.left_out else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "folder": str(self.folder),
            "is_masked": self.is_masked,
            "files": self.files,
            "masked": _counts(self.masked) if self.is_masked else None,
            "index_sha256": self.index or None,
            "left_out": dict(self.left_out),
            "altered": [*self.altered],
            "unsound": [*self.unsound],
        }


def export_evidence(
    installation: Installation,
    incident_id: str,
    to: Path,
    *,
    unmasked_because: str = "",
    identity: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> ExportedEvidence:
    """Write an incident's evidence to a new folder, masked without a reason.

    Raise UsageError if the incident is unknown, if it has no evidence, if the folder exists, or if
    encrypted evidence has to be masked and there is no identity. Raise Refused if the identity does
    not open every folder. Raise Damaged if all evidence is missing, and StandfastError if no folder
    is valid or a file cannot be written. After an error, no new folder remains.
    """
    installation.ledger.incidents.get(incident_id)
    folders = frozen(installation.config, incident_id)
    if not folders:
        raise no_evidence_found(installation, incident_id)
    known = recorded_evidence(installation, incident_id)
    valid = [folder for folder in folders if _is_valid(folder, known)]
    if not valid:
        raise StandfastError(
            f"evidence of {incident_id}: no folder is valid. Run `standfast evidence verify "
            f"{incident_id}`."
        )
    draft = _draft_of(installation, to)
    exported = ExportedEvidence(
        folder=to,
        is_masked=not unmasked_because,
        unsound=tuple(_invalid_sources(folders, valid, known)),
    )
    keys = custodian_keys(identity)
    export = _Export(installation, incident_id, valid, draft, exported, keys, progress)
    try:
        make_private(draft)
        if unmasked_because:
            export.note(unmasked_because)
            export.copy_all()
        else:
            export.mask_all()
            export.note("")
        sync_tree(draft)
        draft.rename(to)
        sync_folder(to.parent)
    except OSError as error:
        raise StandfastError(
            f"{to}: cannot be written: {error.strerror or type(error).__name__}. Name a new folder "
            "with free space where this user may write."
        ) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # there is no draft
            shutil.rmtree(draft)
    return exported


def _is_valid(evidence: Frozen, known: Recorded) -> bool:
    """Return whether seal, custody and ledger agree; do not read the files."""
    manifest = known.manifests.get(evidence.folder, "")
    return not (
        evidence.problems
        or (manifest and manifest != manifest_hash(evidence.folder))
        or verify_custody(evidence.folder, known.lines.get(evidence.folder, set()))
    )


def _invalid_sources(
    folders: Sequence[Frozen], valid: Sequence[Frozen], known: Recorded
) -> Iterator[str]:
    """Return the sources with an invalid or missing folder."""
    gone = known.manifests.keys() - {evidence.folder for evidence in folders}
    bad = {evidence.source for evidence in folders if evidence not in valid} | {
        folder.parent.name for folder in gone
    }
    return iter(sorted(bad))


def _draft_of(installation: Installation, to: Path) -> Path:
    if os.path.lexists(to):
        raise UsageError(f"{to}: it exists already. Name a new folder with --to.")
    if to.resolve().is_relative_to(installation.config.custody.folder.resolve()):
        raise UsageError(f"{to}: it is inside the evidence folder. Name a folder outside.")
    draft = to.with_name(f".{to.name}.draft")
    if os.path.lexists(draft):
        raise UsageError(f"{draft}: left by an interrupted export. Delete it, then export again.")
    return draft


class _Export:
    """One export in progress, in its draft folder."""

    def __init__(
        self,
        installation: Installation,
        incident_id: str,
        valid: Sequence[Frozen],
        draft: Path,
        exported: ExportedEvidence,
        keys: tuple[object, ...],
        progress: Progress,
    ) -> None:
        self._installation, self._incident, self._valid = installation, incident_id, valid
        self._draft, self._exported, self._progress = draft, exported, progress
        self._key = read_signing_key(installation.config.custody.key).public_key()
        self._manifests = {
            evidence.folder: read_sealed(evidence.folder, self._key) for evidence in valid
        }
        self._total = sum(manifest.counts.size_bytes for manifest in self._manifests.values())
        self._done = 0
        self._data_keys = {
            evidence.folder: data_key(
                installation, evidence.folder, self._manifests[evidence.folder], keys
            )
            for evidence in valid
            if exported.is_masked and not evidence.disposed_at
        }
        # Result files of reviews are exported too, although they are not evidence.
        self._reviews = {
            installation.config.custody.folder / str(row.facts["timeline"]): str(
                row.facts["sha256"]
            )
            for row in installation.ledger.effects.reviewed(incident_id)
            if "timeline" in row.facts
        }

    def note(self, reason: str) -> None:
        """Record the export in each chain of custody and in the timeline."""
        installation, exported = self._installation, self._exported
        how = "in clear" if reason else f"masked, index {exported.index}"
        custody = {
            _name_of(evidence): append_custody(
                evidence.folder,
                at=installation.clock(),
                who=installation.actor,
                act=Act.EXPORTED,
                detail=f"{how}: {reason}" if reason else how,
            ).hash
            for evidence in self._valid
        }
        detail: dict[str, Json] = {"is_masked": exported.is_masked, "custody": custody}
        if reason:
            detail["reason"] = reason
        else:
            detail |= {"files": exported.files, "index": exported.index}
        installation.record_event(self._incident, EXPORTED, detail)

    def copy_all(self) -> None:
        """Copy the sealed folders unchanged, and verify the copies."""
        for evidence in self._valid:
            copy = self._draft / _name_of(evidence)
            make_private(copy.parent)
            shutil.copytree(evidence.folder, copy, symlinks=True, ignore=_specials)
            problems = (*verify_seal(copy, self._key), *verify_custody(copy))
            self._exported.altered += [f"{evidence.source}: {problem}" for problem in problems]
            manifest = self._manifests[evidence.folder]
            self._exported.files += sum(_has_copy(copy, item) for item in manifest.items)
            self._advance(manifest.counts.size_bytes)
        for review, sha256 in self._reviews.items():
            copy = self._draft / REVIEWS / review.name
            make_private(copy.parent)
            try:
                shutil.copyfile(review, copy, follow_symlinks=False)
            except FileNotFoundError:
                self._exported.altered.append(f"{REVIEWS}: {review.name} is missing")
                continue
            if copy.is_symlink() or hashlib.sha256(copy.read_bytes()).hexdigest() != sha256:
                self._exported.altered.append(f"{REVIEWS}: {review.name} was changed")

    def mask_all(self) -> None:
        """Write a masked copy of each file, and the index."""
        hashed = hashlib.sha256()
        with os.fdopen(os.open(self._draft / INDEX_FILE, _NEW, 0o600), "wb") as index:
            for kind, record in self._records():
                line = canonical({kind: record}) + b"\n"
                hashed.update(line)
                index.write(line)
            index.flush()
            os.fsync(index.fileno())
        self._exported.index = hashed.hexdigest()

    def _records(self) -> Iterator[tuple[str, JsonObject]]:
        yield (
            "export",
            {
                "format": FORMAT,
                "incident": self._incident,
                "exported_at": timestamp(self._installation.clock()),
                "exported_by": self._installation.actor,
                "unsound": [*self._exported.unsound],
                "note": _NOTE,
            },
        )
        for evidence in self._valid:
            manifest = self._manifests[evidence.folder]
            yield "folder", _folder_record(evidence, manifest)
            for number, item in enumerate(manifest.items, 1):
                if item.kind is Kind.FOLDER:
                    continue
                record = _item_record(item)
                if item.kind is Kind.FILE and evidence.disposed_at:
                    record |= {"left_out": DISPOSED_OF}
                    self._exported.left_out[DISPOSED_OF] += 1
                elif item.kind is Kind.FILE:
                    key = self._data_keys[evidence.folder]
                    original = partial(open_item, evidence.folder, item, key)
                    name = f"{_name_of(evidence)}/{_file_name(number, item.location)}"
                    record |= self._masked(original, item.path, item.sha256, name, evidence.source)
                    self._advance(item.size_bytes)
                yield "item", record
        for number, (review, sha256) in enumerate(sorted(self._reviews.items()), 1):
            name = f"{REVIEWS}/{_file_name(number, review.name)}"
            original = partial(_open_review, review)
            made = self._masked(original, f"{REVIEWS}/{review.name}", sha256, name, REVIEWS)
            yield "review", {"sha256": sha256, **made}

    def _masked(
        self, original: Callable[[], BinaryIO], path: str, sha256: str, name: str, source: str
    ) -> JsonObject:
        """Write one masked copy; return its record for the index."""
        copy = self._draft / name
        make_private(copy.parent)
        shown = mask_text(path)
        title = f"[{_NOTE} {shown}, SHA-256 {sha256}]"
        try:
            with original() as read, os.fdopen(os.open(copy, _NEW, 0o600), "wb") as written:
                made = copy_masked(read, written, title)
                written.flush()
                os.fsync(written.fileno())
            problem = _CHANGED if made.sha256 != sha256 else made.left_out
        except Damaged:
            problem = _CHANGED
        if problem:
            copy.unlink(missing_ok=True)
            if problem == _CHANGED:
                self._exported.altered.append(f"{source}: {shown} {problem}")
            else:
                self._exported.left_out[problem] += 1
            return {"left_out": problem}
        self._exported.files += 1
        self._exported.masked.add(made.found)
        return {"copy": name, "masked": _counts(made.found)}

    def _advance(self, size_bytes: int) -> None:
        self._done += size_bytes
        self._progress(self._done, self._total)


def _folder_record(evidence: Frozen, manifest: Manifest) -> JsonObject:
    return {
        "folder": _name_of(evidence),
        "manifest": hashlib.sha256(manifest.as_bytes()).hexdigest(),
        "host": manifest.host,
        "started": manifest.started,
        "ended": manifest.ended,
        "excluded": manifest.excluded,
    }


def _item_record(item: Item) -> dict[str, Json]:
    found: dict[str, Json] = {"path": mask_text(item.path), "kind": item.kind.value}
    if item.kind is Kind.FILE:
        found |= {"sha256": item.sha256, "size_bytes": item.size_bytes, "modified": item.modified}
    if item.link_target:
        found["link_target"] = mask_text(item.link_target)
    if item.reason:
        found["reason"] = item.reason
    return found


def _has_copy(folder: Path, item: Item) -> bool:
    copy = folder / FILES_FOLDER / item.location
    return item.kind is Kind.FILE and copy.is_file() and not copy.is_symlink()


def _open_review(review: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(review, _READ), "rb")
    except OSError:
        raise Damaged("is missing, or is a link") from None


def _counts(found: Masked) -> Mapping[str, int]:
    return {"cards": found.cards, "social_security": found.social_security, "mail": found.mail}


def _name_of(evidence: Frozen) -> str:
    return f"{evidence.source}/{evidence.folder.name}"


def _file_name(number: int, location: str) -> str:
    """Return a unique name for a copy that every file system accepts."""
    name = mask_text(location.rpartition("/")[2])
    plain = re.sub(r"[^\w.@-]", "_", name, flags=re.ASCII).strip(".")
    return f"{number:04}-{plain[-_LONGEST_NAME:]}"


def _specials(folder: str, names: Sequence[str]) -> list[str]:
    """Return the names of devices, sockets and pipes: reading one may block."""

    def is_special(name: str) -> bool:
        mode = Path(folder, name).lstat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))

    return [name for name in names if is_special(name)]
