"""An incident's evidence for others: masked copies to read, or with a reason the evidence itself.

Rules
- What leaves is masked unless somebody gives a reason. Either is one event of the timeline and one
  line in each folder's chain of custody, before the new folder has its name; where it is in clear,
  before a byte is copied.
- Masked copies are no evidence: the sealed folders stay as they are. `masked.jsonl` names each
  original by its hash, what was masked in its copy, and what has no masked copy and why; its own
  hash stands in the timeline.
- What is not what was sealed (a folder by its seal, its chain of custody or the ledger, a copy by
  its hash) is named and left out. In clear, a folder goes as it is, and what differs is named.
- Nothing is written over, and whoever dies over it leaves a draft that says so by its name.
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
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.evidence.custody import Act, append_custody, verify_custody
from standfast.evidence.durable_files import make_private, sync_folder, sync_tree
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.masked_copy import copy_masked
from standfast.evidence.seal import FILES_FOLDER, read_sealed, verify_seal
from standfast.evidence.text_masking import Masked, mask_text
from standfast.records import Json, JsonObject, canonical, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import (
    EXPORTED,
    Frozen,
    Recorded,
    frozen,
    is_another,
    no_evidence_found,
    recorded,
)
from standfast.usecases.evidence.review import REVIEWS

FORMAT = "standfast-masked/1"
INDEX_FILE = "masked.jsonl"
_CHANGED = "is not what was sealed"
_NOTE = (
    "Masked copies, to read: no evidence. Card numbers, social-security numbers and mail addresses "
    "in them are masked, and nothing else is. The originals lie sealed, by these hashes."
)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST_NAME = 120

Progress = Callable[[int, int], object]  # bytes done, and of how many


@dataclass(kw_only=True)
class ExportedEvidence:
    """What an export came to."""

    folder: Path
    is_masked: bool
    files: int = 0
    masked: Masked = field(default_factory=Masked)
    index: str = ""  # SHA-256 of the index; empty where nothing is masked
    left_out: Counter[str] = field(default_factory=Counter)  # files without a masked copy, by why
    altered: list[str] = field(default_factory=list)  # what is not what was sealed
    unsound: tuple[str, ...] = ()  # sources with a folder that does not hold, or is gone

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED where something is not what was sealed, PARTIAL where something is left out."""
        if self.altered or self.unsound:
            return ExitStatus.DAMAGED
        return ExitStatus.PARTIAL if self.left_out else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
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
    progress: Progress = lambda done, total: None,
) -> ExportedEvidence:
    """Write what an incident froze into a new folder, masked unless there is a reason not to.

    UsageError when there is no such incident, nothing was frozen for it, or the folder is there
    already; Damaged when all of it is gone; StandfastError when nothing of it holds, or it cannot
    be written. Then none is left.
    """
    installation.ledger.incidents.get(incident_id)
    there = frozen(installation.config, incident_id)
    if not there:
        raise no_evidence_found(installation, incident_id)
    known = recorded(installation, incident_id)
    sound = [one for one in there if _is_sound(one, known)]
    if not sound:
        raise StandfastError(
            "there is nothing sound to export: look at what `standfast evidence verify "
            f"{incident_id}` says"
        )
    draft = _draft_of(installation, to)
    exported = ExportedEvidence(
        folder=to,
        is_masked=not unmasked_because,
        unsound=tuple(_unsound(there, sound, known)),
    )
    export = _Export(installation, incident_id, sound, draft, exported, progress)
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
            f"{to} cannot be written: {error.strerror or type(error).__name__}; name a new folder "
            "where there is room and this user may write"
        ) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # none was made
            shutil.rmtree(draft)
    return exported


def _is_sound(one: Frozen, known: Recorded) -> bool:
    """Do seal and custody hold, and is it what the ledger has as sealed? Reads no copy."""
    manifest = known.manifests.get(one.folder, "")
    return not (
        one.problems
        or (manifest and is_another(one.folder, manifest))
        or verify_custody(one.folder, known.lines.get(one.folder, set()))
    )


def _unsound(there: Sequence[Frozen], sound: Sequence[Frozen], known: Recorded) -> Iterator[str]:
    """Name each source with a folder that does not hold, or is gone, once."""
    gone = known.manifests.keys() - {one.folder for one in there}
    bad = {one.source for one in there if one not in sound} | {one.parent.name for one in gone}
    return iter(sorted(bad))


def _draft_of(installation: Installation, to: Path) -> Path:
    if os.path.lexists(to):
        raise UsageError(f"{to} is there already; name a new folder with --to")
    if to.resolve().is_relative_to(installation.config.custody.folder.resolve()):
        raise UsageError(f"{to} lies where the evidence itself does; name a folder elsewhere")
    draft = to.with_name(f".{to.name}.draft")
    if os.path.lexists(draft):
        raise UsageError(f"{draft} is left of an export that did not end: delete it, then go on")
    return draft


class _Export:
    """One export under way, in its draft."""

    def __init__(
        self,
        installation: Installation,
        incident_id: str,
        sound: Sequence[Frozen],
        draft: Path,
        exported: ExportedEvidence,
        progress: Progress,
    ) -> None:
        self._installation, self._incident, self._sound = installation, incident_id, sound
        self._draft, self._exported, self._progress = draft, exported, progress
        self._key = read_signing_key(installation.config.custody.key).public_key()
        self._manifests = {one.folder: read_sealed(one.folder, self._key) for one in sound}
        self._total = sum(manifest.counts.size_bytes for manifest in self._manifests.values())
        self._done = 0
        # What was found in the evidence is no evidence, and goes with it; the ledger has its hash.
        self._reviews = {
            installation.config.custody.folder / str(row.facts["timeline"]): str(
                row.facts["sha256"]
            )
            for row in installation.ledger.effects.reviewed(incident_id)
            if "timeline" in row.facts
        }

    def note(self, reason: str) -> None:
        """Note the export in each chain of custody and in the timeline."""
        installation, exported = self._installation, self._exported
        how = "in clear" if reason else f"masked, index {exported.index}"
        custody = {
            _name_of(one): append_custody(
                one.folder,
                at=installation.clock(),
                who=installation.actor,
                act=Act.EXPORTED,
                detail=f"{how}: {reason}" if reason else how,
            ).hash
            for one in self._sound
        }
        detail: dict[str, Json] = {"is_masked": exported.is_masked, "custody": custody}
        if reason:
            detail["reason"] = reason
        else:
            detail |= {"files": exported.files, "index": exported.index}
        with installation.ledger.database.write(
            actor=installation.actor,
            subject=self._incident,
            action=EXPORTED,
            now=installation.clock(),
            detail=detail,
        ):
            pass  # the event is all there is to write

    def copy_all(self) -> None:
        """Copy the sealed folders as they are, and name what in them differs."""
        for one in self._sound:
            copy = self._draft / _name_of(one)
            make_private(copy.parent)
            shutil.copytree(one.folder, copy, symlinks=True, ignore=_specials)
            problems = (*verify_seal(copy, self._key), *verify_custody(copy))
            self._exported.altered += [f"{one.source}: {problem}" for problem in problems]
            manifest = self._manifests[one.folder]
            self._exported.files += sum(_has_copy(copy, item) for item in manifest.items)
            self._advance(manifest.counts.size_bytes)
        for review, sha256 in self._reviews.items():
            copy = self._draft / REVIEWS / review.name
            make_private(copy.parent)
            try:
                shutil.copyfile(review, copy, follow_symlinks=False)
            except FileNotFoundError:
                self._exported.altered.append(f"{REVIEWS}: {review.name} is gone")
                continue
            if copy.is_symlink() or hashlib.sha256(copy.read_bytes()).hexdigest() != sha256:
                self._exported.altered.append(f"{REVIEWS}: {review.name} is not what was written")

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
        for one in self._sound:
            manifest = self._manifests[one.folder]
            yield "folder", _folder_record(one, manifest)
            for number, item in enumerate(manifest.items, 1):
                if item.kind is Kind.FOLDER:
                    continue
                record = _item_record(item)
                if item.kind is Kind.FILE:
                    original = one.folder / FILES_FOLDER / item.location
                    name = f"{_name_of(one)}/{_file_name(number, item.location)}"
                    record |= self._masked(original, item.path, item.sha256, name, one.source)
                    self._advance(item.size_bytes)
                yield "item", record
        for number, (review, sha256) in enumerate(sorted(self._reviews.items()), 1):
            name = f"{REVIEWS}/{_file_name(number, review.name)}"
            made = self._masked(review, f"{REVIEWS}/{review.name}", sha256, name, REVIEWS)
            yield "review", {"sha256": sha256, **made}

    def _masked(self, original: Path, path: str, sha256: str, name: str, source: str) -> JsonObject:
        """Make one masked copy; say what became of it."""
        copy = self._draft / name
        make_private(copy.parent)
        shown = mask_text(path)
        title = f"[{_NOTE} {shown}, SHA-256 {sha256}]"
        problem = ""
        try:
            source_file = os.open(original, _READ)
        except OSError:
            problem = _CHANGED  # it is gone, or is a link
        else:
            with (
                os.fdopen(source_file, "rb") as read,
                os.fdopen(os.open(copy, _NEW, 0o600), "wb") as written,
            ):
                if not stat.S_ISREG(os.fstat(read.fileno()).st_mode):
                    problem = _CHANGED
                else:
                    made = copy_masked(read, written, title)
                    written.flush()
                    os.fsync(written.fileno())
                    problem = _CHANGED if made.sha256 != sha256 else made.left_out
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


def _folder_record(one: Frozen, manifest: Manifest) -> JsonObject:
    return {
        "folder": _name_of(one),
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


def _counts(found: Masked) -> Mapping[str, int]:
    return {"cards": found.cards, "social_security": found.social_security, "mail": found.mail}


def _name_of(one: Frozen) -> str:
    return f"{one.source}/{one.folder.name}"


def _file_name(number: int, location: str) -> str:
    """Name a copy so that every file system takes it, and no two have one name."""
    name = mask_text(location.rpartition("/")[2])
    plain = re.sub(r"[^\w.@-]", "_", name, flags=re.ASCII).strip(".")
    return f"{number:04}-{plain[-_LONGEST_NAME:]}"


def _specials(folder: str, names: Sequence[str]) -> list[str]:
    """Name what is no file, folder or link: nobody froze it, and reading it may never end."""

    def is_special(name: str) -> bool:
        mode = Path(folder, name).lstat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))

    return [name for name in names if is_special(name)]
