"""Evidence folders: list; verification by seal, ledger, stamp and copies.

A frozen folder contains copies of logs and files of an incident. Its seal is a signed manifest.

Rules
- Verification works without the ledger (the installation's database), because evidence must be
  verifiable if the ledger is lost. If the ledger exists, the folders are also compared with it.
- A folder with an invalid seal is listed too; a verification reports the error.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate

from backup.stores import Store
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.errors import ConfigurationError, Damaged, ExitStatus, StandfastError, UsageError
from standfast.evidence.custody import read_custody, verify_custody
from standfast.evidence.disposal_certificate import read_certificate
from standfast.evidence.host_clock import offset_in_words
from standfast.evidence.manifest import read_manifest
from standfast.evidence.seal import MANIFEST_FILE, manifest_hash, read_sealed, verify_seal
from standfast.evidence.time_stamp_authority import read_roots
from standfast.evidence.time_stamp_file import inspect_timestamp, stamped_at, stamped_line
from standfast.host_name import host_name
from standfast.plurals import counted
from standfast.records import JsonObject
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import (
    Copied,
    copy_each,
    inspect_bucket_copy,
    required_evidence_bucket,
    second_location,
)
from standfast.usecases.evidence.disposal_state import Authority, problems_of_certificate
from standfast.usecases.evidence.evidence_record import (
    Recorded,
    recorded_evidence,
    recorded_seals,
)

_IS_GONE = "missing, although the ledger records it as frozen and sealed"
_IS_ANOTHER = "sealed, but not the folder that the ledger records as sealed"
NO_AUTHORITY = "custody.timestamp: no time stamp authority is set. Add [custody.timestamp]."


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """State of one evidence folder.

    If the seal is invalid, all counts are 0 and all times are "".
    """

    folder: Path  # INCIDENT/SOURCE/TOKEN; the token is the id of one collection
    collected_at: str = ""
    files: int = 0
    unread: int = 0  # number of files that could not be collected
    size_bytes: int = 0  # of the content of all files
    is_encrypted: bool = False
    incomplete: int = 0  # number of files that could be collected only in part
    clock: str = ""  # offset of the host's clock from the true time, in words; "" if not recorded
    problems: tuple[str, ...] = ()
    disposed_at: str = ""  # time when the files were destroyed by a disposal; "" without one
    stamp: str = ""  # the state of the time stamp, in words; "" if none exists and none is required
    stamp_unchecked: tuple[str, ...] = ()  # reasons why the time stamp cannot be verified
    copy: str = ""  # the state of the copy in the bucket, in words; "" if unknown or not required
    copy_problems: tuple[str, ...] = ()

    @property
    def incident(self) -> str:
        return self.folder.parts[-3]

    @property
    def source(self) -> str:
        return self.folder.parent.name

    @property
    def name(self) -> str:
        return f"{self.source}/{self.folder.name}"  # as the ledger names it

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "incident": self.incident,
            "source": self.source,
            "folder": str(self.folder),
            "collected_at": self.collected_at,
            "files": self.files,
            "unread": self.unread,
            "incomplete": self.incomplete,
            "clock": self.clock,
            "disposed_at": self.disposed_at,
            "problems": list(self.problems),
            "stamp": self.stamp,
            "stamp_unchecked": list(self.stamp_unchecked),
            "copy": self.copy,
            "copy_problems": list(self.copy_problems),
        }


def seal_key(config: Config) -> str:
    """Return the public key of seals in hex; ConfigurationError if missing."""
    return read_signing_key(config.custody.key).public_key().public_bytes_raw().hex()


def frozen(config: Config, incident: str | None = None) -> list[Frozen]:
    """List the evidence folders of one incident or of all; read no files."""
    key = read_signing_key(config.custody.key).public_key()
    found: list[Frozen] = []
    for folder in folders_of(config, incident):
        try:
            manifest = read_sealed(folder, key)
            certificate = read_certificate(folder, key)
        except Damaged as error:
            found.append(Frozen(folder=folder, problems=(str(error),)))
            continue
        counts = manifest.counts
        found.append(
            Frozen(
                folder=folder,
                collected_at=manifest.ended,
                files=counts.files,
                unread=counts.unread,
                size_bytes=counts.size_bytes,
                is_encrypted=manifest.encryption is not None,
                incomplete=counts.incomplete,
                clock=offset_in_words(manifest.clock.offset_microseconds) if manifest.clock else "",
                disposed_at=certificate.disposed_at if certificate else "",
                stamp=_recorded_stamp(folder, is_wanted=config.custody.timestamp is not None),
            )
        )
    return found


def _recorded_stamp(folder: Path, *, is_wanted: bool) -> str:
    """Return the state of the time stamp in the chain of custody, unverified."""
    try:
        line = stamped_line(read_custody(folder))
    except Damaged:
        return ""
    return stamped_at(line) if line else "none yet" if is_wanted else ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The evidence folders that exist here, or that the ledger records."""

    evidence: tuple[Frozen, ...]
    ledger_problem: str  # the reason why the ledger could not be read, or ""

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED for damage, PARTIAL if something is not verified, else DONE.

        PARTIAL means that the ledger could not be read, so folders may be missing, or that a time
        stamp or a copy in the bucket is not verified.
        """
        if any(evidence.problems for evidence in self.evidence):
            return ExitStatus.DAMAGED
        is_all = not any(
            evidence.copy_problems or evidence.stamp_unchecked for evidence in self.evidence
        )
        return ExitStatus.DONE if is_all and not self.ledger_problem else ExitStatus.PARTIAL


def list_frozen(installation: Installation, incident: str | None = None) -> Found:
    """List the existing and the missing folders of one incident or of all.

    The files in the folders are not read. A certificate of disposal is a problem if the ledger has
    no permission for the disposal. If there is no folder and the ledger cannot be read, raise the
    ledger's error. Raise UsageError for an unknown incident.
    """
    found = frozen(installation.config, incident)
    gone: list[Frozen] = []
    try:
        ledger = installation.ledger
        asked = [row.id for row in ledger.incidents.all()] if incident is None else [incident]
        disposals: dict[Path, Authority] = {}
        for name in asked:
            known = recorded_seals(installation, name)
            disposals |= known.disposals or {}
            gone += _missing_folders(found, known)
    except StandfastError as error:
        if not found:
            raise
        return Found(evidence=tuple(found), ledger_problem=str(error))
    if incident is not None and not found and not gone:
        ledger.incidents.get(incident)  # raises for an unknown incident
    key = read_signing_key(installation.config.custody.key).public_key()
    checked = [
        replace(
            each, problems=(*problems_of_certificate(each.folder, key, disposals.get(each.folder)),)
        )
        if each.disposed_at
        else each
        for each in found
    ]
    return Found(evidence=(*checked, *gone), ledger_problem="")


def no_evidence_found(installation: Installation, incident: str) -> StandfastError:
    """Return the error for an incident without evidence on this host."""
    if recorded_seals(installation, incident).manifests:
        return Damaged(
            f"evidence of {incident!r}: missing. Run `standfast evidence verify "
            f"{incident}` to list it."
        )
    return UsageError(
        f"evidence of {incident!r}: nothing was frozen. List all with `standfast evidence list`."
    )


def verify_frozen(installation: Installation, incident: str) -> Found:
    """Verify an incident's evidence: read all files, here and in the bucket.

    `problems` of a folder names its differences. Raise UsageError if the incident has no evidence.
    If there is no folder and the ledger cannot be read, raise the ledger's error.
    """
    config = installation.config
    no_ledger: StandfastError | None = None
    known = Recorded()
    try:
        known = recorded_evidence(installation, incident)
    except StandfastError as error:
        no_ledger = error
    key = read_signing_key(config.custody.key).public_key()
    found = [
        replace(evidence, problems=tuple(problems_of(evidence.folder, key, known)))
        for evidence in frozen(config, incident)
    ]
    found += _missing_folders(found, known)
    if not found and no_ledger:
        raise no_ledger
    if not found:
        raise no_evidence_found(installation, incident)
    found = list(_with_copies(installation, list(_with_stamps(config, found))))
    return Found(evidence=tuple(found), ledger_problem=str(no_ledger or ""))


def _with_stamps(config: Config, found: list[Frozen]) -> Iterator[Frozen]:
    """Verify each time stamp against seal, chain of custody and certificates."""
    roots, is_wanted = _roots(config), config.custody.timestamp is not None
    for evidence in found:
        if evidence.problems:
            yield evidence  # a time stamp does not cover altered content
            continue
        manifest = read_manifest((evidence.folder / MANIFEST_FILE).read_bytes())
        seen = inspect_timestamp(evidence.folder, manifest, roots, is_wanted=is_wanted)
        yield replace(
            evidence, stamp=seen.summary, stamp_unchecked=seen.unchecked, problems=seen.problems
        )


def _roots(config: Config) -> tuple[Certificate, ...] | str:
    """Return the root certificates for time stamps, or why there are none."""
    if config.custody.timestamp is None:
        return NO_AUTHORITY
    try:
        return read_roots(config.custody.timestamp.roots)
    except ConfigurationError as error:
        return str(error)


def _with_copies(installation: Installation, found: list[Frozen]) -> Iterator[Frozen]:
    """Examine the copy of each folder in the bucket, if one is configured."""
    config, clock = installation.config, installation.clock
    to = second_location(config, installation.resolver, clock)
    if to is None:
        yield from found
        return
    store: Store | None = None
    for evidence in found:
        if evidence.problems:
            yield replace(evidence, copy=f"not compared with the folder here; it is in {to.where}")
            continue
        try:
            store = store or to.open()
            copy = inspect_bucket_copy(config, store, evidence.folder, clock)
        except StandfastError as error:
            yield replace(evidence, copy=f"{to.where} cannot be read", copy_problems=(str(error),))
            continue
        problems = copy.problems
        mode = " in GOVERNANCE mode: privileged users can delete it" if copy.may_be_bypassed else ""
        until = copy.locked_until
        locked = f"locked until {until:%Y-%m-%d}{mode}" if until else "not locked"
        if copy.locked_until is None and config.custody.s3 and config.custody.s3.requires_lock:
            problems = (*problems, "not every object is locked, so it can be deleted")
        found_there = f"{counted(copy.objects, 'object')} in {to.where}, {locked}"
        yield replace(evidence, copy=found_there, copy_problems=problems)


def copy_frozen(installation: Installation, incident: str) -> list[Copied]:
    """Copy the missing parts of an incident's evidence to the bucket.

    Raise UsageError if no bucket is configured or the incident has no evidence, and Damaged if all
    evidence is missing. If the bucket cannot be opened, raise its error.
    """
    config = installation.config
    to = required_evidence_bucket(config, installation.resolver, installation.clock)
    found = [evidence for evidence in frozen(config, incident) if not evidence.disposed_at]
    folders = [evidence.folder for evidence in found]
    if not folders:
        raise no_evidence_found(installation, incident)
    return list(copy_each(config, to, folders, installation.actor, installation.clock))


def _missing_folders(found: Sequence[Frozen], known: Recorded) -> list[Frozen]:
    """Return the folders that the ledger records, but that were not found."""
    present = {evidence.folder for evidence in found}
    return [
        Frozen(folder=folder, problems=(_missing_problem(host),))
        for folder, host in known.hosts.items()
        if folder not in present
    ]


def _missing_problem(host: str) -> str:
    """Return the problem in words; another host may have the folder."""
    if host in ("", host_name()):
        return _IS_GONE
    return (
        f"not here: the ledger records it as frozen and sealed on {host}; verify it there, or "
        "set custody.folder to a folder that all hosts of this ledger share"
    )


def problems_of(folder: Path, key: Ed25519PublicKey, known: Recorded) -> list[str]:
    """Return how a folder differs from its seal and from the ledger."""
    problems, recorded = verify_seal(folder, key), known.manifests.get(folder)
    if not problems and recorded and recorded != manifest_hash(folder):
        problems = [_IS_ANOTHER]
    if not problems and known.disposals is not None:
        problems = problems_of_certificate(folder, key, known.disposals.get(folder))
    return [*problems, *verify_custody(folder, known.lines.get(folder, set()))]


def folders_of(config: Config, incident: str | None) -> Iterator[Path]:
    """Yield the paths INCIDENT/SOURCE/TOKEN of all collected folders, sorted.

    A folder without a seal is included, because it must be reported. A folder that is still being
    collected is not included. Raise ConfigurationError for a folder that this user cannot read,
    because `glob` would omit its content without an error.
    """
    root = config.custody.folder
    for above in (root, *root.glob("*"), *root.glob("*/*")):
        try:
            with os.scandir(above):
                pass
        except PermissionError:
            raise ConfigurationError(
                f"evidence in {above}: permission denied. Run this as the user that owns it."
            ) from None
        except OSError:
            continue  # it is not a folder, or was removed since `glob` found it
    for folder in sorted(root.glob("*/*/*")):
        is_wanted = incident is None or folder.parent.parent.name == incident
        if is_wanted and folder.is_dir() and folder.suffix != ".partial":
            yield folder
