"""Evidence that was frozen, found again on disk and held against its seals.

Rules
- Reads only, and needs no ledger: evidence must be checkable where nothing else is left. Where
  there is one, it says what must be there: whoever deletes a folder deletes its seal with it, and
  whoever has this host's key seals another.
- A folder whose seal does not hold is listed all the same; verifying says what is wrong with it.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate

from backup.stores import Store
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.errors import ConfigurationError, Damaged, ExitStatus, StandfastError, UsageError
from standfast.evidence.custody import read_custody, verify_custody
from standfast.evidence.host_clock import offset_in_words
from standfast.evidence.manifest import read_manifest
from standfast.evidence.seal import MANIFEST_FILE, read_sealed, verify_seal
from standfast.evidence.timestamps import inspect_timestamp, read_roots, stamped_at, stamped_line
from standfast.host_name import host_name
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.plurals import counted
from standfast.records import JsonObject
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import (
    Copied,
    copy_each,
    elsewhere,
    inspect_bucket_copy,
    required_evidence_bucket,
)

EXPORTED = "evidence.exported"  # the event of an export; `custody` of its detail has the lines
STAMPED = "evidence.stamped"  # the event of a time stamp, likewise
_IS_GONE = "it is gone: the ledger has it as frozen and sealed"
_IS_ANOTHER = "it is sealed, but is not what the ledger has as sealed"
NO_AUTHORITY = "no time stamp authority is set; add [custody.timestamp]"


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """One sealed folder; its counts are 0 and its time empty when its seal does not hold."""

    incident: str
    source: str
    folder: Path
    collected_at: str
    files: int
    unread: int
    clock: str = ""  # how far the host's was off, for people; empty when it was not recorded
    problems: tuple[str, ...] = ()
    stamp: str = ""  # what is said of its time stamp; empty where there is none, and none is wanted
    stamp_unchecked: tuple[str, ...] = ()  # why nobody can say that it is stamped
    copy: str = ""  # what became of the copy elsewhere; empty where none is wanted, or looked at
    copy_problems: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            "incident": self.incident,
            "source": self.source,
            "folder": str(self.folder),
            "collected_at": self.collected_at,
            "files": self.files,
            "unread": self.unread,
            "clock": self.clock,
            "problems": list(self.problems),
            "stamp": self.stamp,
            "stamp_unchecked": list(self.stamp_unchecked),
            "copy": self.copy,
            "copy_problems": list(self.copy_problems),
        }


def seal_key(config: Config) -> str:
    """Give the public key that seals are checked with, in hex; ConfigurationError without it."""
    return read_signing_key(config.custody.key).public_key().public_bytes_raw().hex()


def frozen(config: Config, incident: str | None = None) -> list[Frozen]:
    """List what was frozen, of one incident or of all, without reading the copies."""
    key = read_signing_key(config.custody.key).public_key()
    found: list[Frozen] = []
    for folder in folders_of(config, incident):
        try:
            manifest = read_sealed(folder, key)
        except Damaged as error:
            found.append(_of(folder, problems=(str(error),)))
            continue
        counts = manifest.counts
        found.append(
            _of(
                folder,
                collected_at=manifest.ended,
                files=counts.files,
                unread=counts.unread,
                clock=offset_in_words(manifest.clock.offset_microseconds) if manifest.clock else "",
                stamp=_stamp_said(folder, is_wanted=config.custody.timestamp is not None),
            )
        )
    return found


@dataclass(kw_only=True)
class Recorded:
    """What the ledger has of an incident's evidence, by folder."""

    manifests: dict[Path, str] = field(default_factory=dict)  # SHA-256 of what was sealed
    lines: dict[Path, set[str]] = field(default_factory=dict)  # hashes of lines of custody
    hosts: dict[Path, str] = field(default_factory=dict)  # where it was frozen


def recorded(installation: Installation, incident: str) -> Recorded:
    """Read what the ledger has as sealed for an incident, and as noted in its chains of custody."""
    found, root, ledger = (
        _sealed(installation, incident),
        _root(installation, incident),
        installation.ledger,
    )
    noted = [row.facts.get("custody", {}) for row in ledger.effects.reviewed(incident)]
    events = ledger.timeline(incident)
    noted += [
        event.detail.get("custody", {}) for event in events if event.action in (EXPORTED, STAMPED)
    ]
    for lines_by_name in noted:
        for name, line in cast("dict[str, str]", lines_by_name).items():
            found.lines.setdefault(root / name, set()).add(line)
    return found


def _sealed(installation: Installation, incident: str) -> Recorded:
    """Read what the ledger has as sealed for an incident."""
    found, root, ledger = Recorded(), _root(installation, incident), installation.ledger
    by = ledger.effects.hosts_of(incident, SNAPSHOT)
    for row in ledger.effects.frozen(incident):
        folder = root / str(row.facts["folder"])
        found.manifests[folder] = str(row.facts["manifest"])
        found.hosts[folder] = by.get(row.token, "")
        lines = found.lines.setdefault(folder, set())
        lines.update(cast("list[str]", row.facts.get("custody", [])))
    return found


def _root(installation: Installation, incident: str) -> Path:
    return installation.config.custody.folder / incident


def is_another(folder: Path, manifest: str) -> bool:
    """Is a manifest there that is not the one of that hash?"""
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest() != manifest


def _stamp_said(folder: Path, *, is_wanted: bool) -> str:
    """Say what the chain of custody has of a stamp, without verifying any of both."""
    try:
        line = stamped_line(read_custody(folder))
    except Damaged:
        return ""
    return stamped_at(line) if line else "none yet" if is_wanted else ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found of evidence, here and in the ledger."""

    evidence: tuple[Frozen, ...]
    unrecorded: str  # why the ledger could not say what must be there; empty when it did

    @property
    def exit_status(self) -> ExitStatus:
        """PARTIAL where all that is here is whole, and nobody can say whether some is gone.

        Or where the copy elsewhere is not, or nobody can say that it is time-stamped.
        """
        if any(one.problems for one in self.evidence):
            return ExitStatus.DAMAGED
        is_all = not any(one.copy_problems or one.stamp_unchecked for one in self.evidence)
        return ExitStatus.DONE if is_all and not self.unrecorded else ExitStatus.PARTIAL


def list_frozen(installation: Installation, incident: str | None = None) -> Found:
    """List what was frozen, of one incident or of all, and what of it is gone; reads no copy.

    Raises the ledger's own error when nothing is here and the ledger cannot say whether that is
    right, and UsageError when there is no such incident.
    """
    found = frozen(installation.config, incident)
    try:
        incidents = installation.ledger.incidents
        asked = [one.id for one in incidents.all()] if incident is None else [incident]
        gone = [lost for one in asked for lost in _gone(found, _sealed(installation, one))]
    except StandfastError as error:
        if not found:
            raise
        return Found(evidence=tuple(found), unrecorded=str(error))
    if incident is not None and not found and not gone:
        incidents.get(incident)  # one that was mistyped says so
    return Found(evidence=(*found, *gone), unrecorded="")


def no_evidence_found(installation: Installation, incident: str) -> StandfastError:
    """Say why nothing of an incident is here: it was never frozen, or all of it is gone."""
    if _sealed(installation, incident).manifests:
        return Damaged(
            f"what was frozen for incident {incident!r} is gone: `standfast evidence verify "
            f"{incident}` names it"
        )
    return UsageError(
        f"nothing was frozen for incident {incident!r}; `standfast evidence list` has all"
    )


def verify_frozen(installation: Installation, incident: str) -> Found:
    """Read every copy of an incident again; `problems` has all that differs, or is gone.

    Raises UsageError when nothing was frozen for it, and the ledger's own error when nothing is
    here and the ledger cannot say whether that is right.
    """
    config = installation.config
    no_ledger: StandfastError | None = None
    known = Recorded()
    try:
        known = recorded(installation, incident)
    except StandfastError as error:
        no_ledger = error
    key = read_signing_key(config.custody.key).public_key()
    found = [
        replace(
            one,
            problems=(
                *_problems_of_seal(one.folder, key, known.manifests.get(one.folder, "")),
                *verify_custody(one.folder, known.lines.get(one.folder, set())),
            ),
        )
        for one in frozen(config, incident)
    ]
    found += _gone(found, known)
    if not found and no_ledger:
        raise no_ledger
    if not found:
        raise no_evidence_found(installation, incident)
    found = list(_with_copies(installation, list(_with_stamps(config, found))))
    return Found(evidence=tuple(found), unrecorded=str(no_ledger or ""))


def _with_stamps(config: Config, found: list[Frozen]) -> Iterator[Frozen]:
    """Hold the time stamp of each against its seal, its chain of custody and the given roots."""
    roots, is_wanted = _roots(config), config.custody.timestamp is not None
    for one in found:
        if one.problems:
            yield one  # what it is a stamp of is not what was sealed
            continue
        manifest = read_manifest((one.folder / MANIFEST_FILE).read_bytes())
        seen = inspect_timestamp(one.folder, manifest, roots, is_wanted=is_wanted)
        yield replace(one, stamp=seen.told, stamp_unchecked=seen.unchecked, problems=seen.problems)


def _roots(config: Config) -> tuple[Certificate, ...] | str:
    """Give the roots that stamps are verified by, or say why there are none."""
    if config.custody.timestamp is None:
        return NO_AUTHORITY
    try:
        return read_roots(config.custody.timestamp.roots)
    except ConfigurationError as error:
        return str(error)


def _with_copies(installation: Installation, found: list[Frozen]) -> Iterator[Frozen]:
    """Look for the copy of each elsewhere, where there should be one."""
    config, clock = installation.config, installation.clock
    to = elsewhere(config, installation.resolver, clock)
    if to is None:
        yield from found
        return
    store: Store | None = None
    for one in found:
        if one.problems:
            yield replace(one, copy=f"not held against what lies here: go by {to.where}")
            continue
        try:
            store = store or to.open()
            copy = inspect_bucket_copy(config, store, one.folder, clock)
        except StandfastError as error:
            yield replace(one, copy=f"nobody could look in {to.where}", copy_problems=(str(error),))
            continue
        problems = copy.problems
        mode = " in GOVERNANCE mode: who may bypass it can delete" if copy.may_be_bypassed else ""
        until = copy.locked_until
        locked = f"locked until {until:%Y-%m-%d}{mode}" if until else "not locked"
        if copy.locked_until is None and config.custody.s3 and config.custody.s3.requires_lock:
            problems = (*problems, "not every object of it is locked: whoever may delete it can")
        found_there = f"{counted(copy.objects, 'object')} in {to.where}, {locked}"
        yield replace(one, copy=found_there, copy_problems=problems)


def copy_frozen(installation: Installation, incident: str) -> list[Copied]:
    """Copy what is not there yet of an incident's evidence into the bucket that is set.

    UsageError when none is set, or nothing was frozen; Damaged when all of it is gone; the bucket's
    error when it does not open.
    """
    config = installation.config
    to = required_evidence_bucket(config, installation.resolver, installation.clock)
    folders = [one.folder for one in frozen(config, incident)]
    if not folders:
        raise no_evidence_found(installation, incident)
    return list(copy_each(config, to, folders, installation.actor, installation.clock))


def _gone(found: Sequence[Frozen], known: Recorded) -> list[Frozen]:
    """Name what the ledger has as frozen and sealed, and is not among what was found."""
    there = {one.folder for one in found}
    return [
        _of(folder, problems=(_is_gone(host),))
        for folder, host in known.hosts.items()
        if folder not in there
    ]


def _is_gone(host: str) -> str:
    """Say that a folder is gone; where another host froze it, that it may lie there."""
    if host in ("", host_name()):
        return _IS_GONE
    return (
        f"it is not here: the ledger has it as frozen and sealed on {host}; verify it there, or "
        "let custody.folder be one that all hosts of this ledger share"
    )


def _problems_of_seal(folder: Path, key: Ed25519PublicKey, manifest: str) -> list[str]:
    """Give what is wrong with a folder; `manifest` is the ledger's hash of it, where it has one."""
    if (problems := verify_seal(folder, key)) or not manifest:
        return problems
    return [_IS_ANOTHER] if is_another(folder, manifest) else []


def _of(
    folder: Path,
    *,
    collected_at: str = "",
    files: int = 0,
    unread: int = 0,
    clock: str = "",
    stamp: str = "",
    problems: tuple[str, ...] = (),
) -> Frozen:
    return Frozen(
        incident=folder.parent.parent.name,
        source=folder.parent.name,
        folder=folder,
        collected_at=collected_at,
        files=files,
        unread=unread,
        clock=clock,
        stamp=stamp,
        problems=problems,
    )


def folders_of(config: Config, incident: str | None) -> Iterator[Path]:
    """Find what is whole: `INCIDENT/SOURCE/TOKEN` in `custody.folder`, in order of their names.

    Not by its seal: one that lost it must show. Raises ConfigurationError where this user may not
    look: `glob` would find nothing there, and what is whole would be called gone.
    """
    root = config.custody.folder
    for above in (root, *root.glob("*"), *root.glob("*/*")):
        try:
            with os.scandir(above):
                pass
        except PermissionError:
            raise ConfigurationError(
                f"the evidence in {above} may not be read by this user: run this as the user who "
                "owns it"
            ) from None
        except OSError:
            continue  # no folder, or none any more
    for folder in sorted(root.glob("*/*/*")):
        is_wanted = incident is None or folder.parent.parent.name == incident
        if is_wanted and folder.is_dir() and folder.suffix != ".partial":
            yield folder
