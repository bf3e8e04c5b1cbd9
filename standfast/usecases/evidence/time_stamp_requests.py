"""Requests of missing time stamps for evidence, repeated until granted.

A time stamp is signed by an external authority. It proves the time when the seal (the signed
manifest) of an evidence folder existed.

Rules
- No action waits for a time stamp, because evidence is complete without it. `serve` requests stamps
  in a separate thread. A command requests them after it has printed its result.
- `status`, `evidence list` and `evidence verify` report missing stamps. `standfast evidence stamp`
  requests them.
- If the authority fails once, this call of `stamp_pending` sends no more requests.
- A stamp is requested only for a valid seal of this installation. An exercise creates no seals.
- If a folder has a copy in the bucket, its stamp is copied there too. A failed copy is repeated at
  the next call.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config import Config
from standfast.errors import Damaged, StandfastError, UsageError
from standfast.evidence.bucket_copy import copy_stamp, is_copied, is_stamp_copied
from standfast.evidence.seal import is_sealed
from standfast.evidence.time_stamp_authority import ASK_SECONDS, Authority, Stamp, read_roots
from standfast.evidence.time_stamp_file import is_stamped, store_timestamp
from standfast.records import JsonObject, timestamp
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import name_of, second_location
from standfast.usecases.evidence.evidence_record import STAMPED
from standfast.usecases.evidence.frozen_folders import NO_AUTHORITY, folders_of, no_evidence_found


@dataclass(frozen=True, kw_only=True)
class Stamped:
    """The result of requesting or copying the stamp of one folder."""

    folder: Path
    stamp: Stamp | None = None
    problem: str = ""
    may_pass: bool = False  # the problem is temporary: the authority or the bucket failed

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.problem or self.stamp is None:
            return self.problem
        return f"stamped {timestamp(self.stamp.at)} by {self.stamp.authority}"

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "folder": str(self.folder),
            "stamped_at": timestamp(self.stamp.at) if self.stamp else None,
            "authority": self.stamp.authority if self.stamp else "",
            "problem": self.problem,
        }


def authority_of(config: Config, seconds: float = ASK_SECONDS) -> Authority:
    """Return the configured time stamp authority.

    Raise UsageError if none is configured, and ConfigurationError if its root certificates cannot
    be read.
    """
    settings = config.custody.timestamp
    if settings is None:
        raise UsageError(NO_AUTHORITY)
    return Authority(
        url=settings.url,
        roots=read_roots(settings.roots),
        ca_file=settings.ca_file,
        seconds=seconds,
    )


def unstamped(config: Config, incident: str | None = None) -> list[Path]:
    """Return the folders without a stamp or without a record of the stamp.

    The record is a line in the folder's chain of custody. No request is sent.
    """
    return [folder for folder in folders_of(config, incident) if not is_stamped(folder)]


def stamp_pending(
    installation: Installation, incident: str | None = None, *, seconds: float = ASK_SECONDS
) -> Iterator[Stamped]:
    """Request the missing stamps of an incident or of all; copy the stamps.

    Yield the result for each folder without a stamp, and for a folder with a stamp that could not
    be copied. Send no request if no stamp is missing or no authority is configured. The call may be
    repeated.
    """
    config, clock = installation.config, installation.clock
    if config.custody.timestamp is None:
        return
    missing = unstamped(config, incident)
    if missing:
        yield from _stamp_each(installation, missing, authority_of(config, seconds))
    to = second_location(config, installation.resolver, clock)
    if to is None:
        return
    uncopied = [folder for folder in folders_of(config, incident) if _lacks_copy(folder, to.where)]
    if not uncopied:
        return
    try:
        store = to.open()
        for folder in uncopied:
            name = name_of(config, folder)
            with translated_errors(f"copying the time stamp of {name}"):
                copy_stamp(folder, name, store, to.where, installation.actor, clock)
    except StandfastError as error:
        why = f"its time stamp is not copied: {error}"
        yield Stamped(folder=uncopied[0], problem=why, may_pass=True)


def stamp_frozen(installation: Installation, incident: str) -> list[Stamped]:
    """Request the missing stamps of an incident.

    Raise UsageError if no authority is configured or the incident has no evidence, and Damaged if
    all evidence is missing.
    """
    if installation.config.custody.timestamp is None:
        raise UsageError(NO_AUTHORITY)
    if not any(folders_of(installation.config, incident)):
        raise no_evidence_found(installation, incident)
    return list(stamp_pending(installation, incident))


def _stamp_each(
    installation: Installation, folders: Sequence[Path], authority: Authority
) -> Iterator[Stamped]:
    key = read_signing_key(installation.config.custody.key).public_key()
    failure = ""
    try:
        for folder in folders:
            if failure:
                yield Stamped(folder=folder, problem=failure, may_pass=True)
            elif not is_sealed(folder, key):
                yield Stamped(folder=folder, problem="its seal is invalid: it is not stamped")
            else:
                try:
                    stamp = store_timestamp(
                        folder, authority, installation.actor, installation.clock
                    )
                except Damaged as error:
                    yield Stamped(folder=folder, problem=str(error))
                except StandfastError as error:
                    failure = str(error)
                    yield Stamped(folder=folder, problem=failure, may_pass=True)
                except OSError as error:
                    why = f"its time stamp cannot be written: {error.strerror}"
                    yield Stamped(folder=folder, problem=why, may_pass=True)
                else:
                    _note(installation, folder, stamp)
                    is_there = stamp is not None
                    other = "" if is_there else "another process is requesting its stamp"
                    yield Stamped(folder=folder, stamp=stamp, problem=other)
    finally:
        authority.close()


def _note(installation: Installation, folder: Path, stamp: Stamp | None) -> None:
    """Record the stamp, and its line in the chain of custody, in the timeline.

    If the ledger cannot be written, record nothing.
    """
    if stamp is None or not stamp.line:
        return
    name = f"{folder.parent.name}/{folder.name}"
    detail: JsonObject = {
        "custody": {name: stamp.line},
        "stamped_at": timestamp(stamp.at),
        "authority": stamp.authority,
    }
    with suppress(StandfastError):  # the chain of custody contains the stamp anyway
        installation.record_event(folder.parent.parent.name, STAMPED, detail)


def _lacks_copy(folder: Path, where: str) -> bool:
    try:
        return is_copied(folder, where) and not is_stamp_copied(folder, where)
    except Damaged:
        return False  # verification reports the damage
