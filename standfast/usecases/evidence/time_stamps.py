"""Time stamps for what is sealed, had where they are missing, whatever becomes of the authority.

Rules
- Nothing waits for a stamp: what is sealed counts as collected without one. `serve` has seals
  stamped in a thread of its own, a command once it has said its answer; what is left is named by
  `status`, `evidence list` and `evidence verify`, and `standfast evidence stamp` asks for it.
- A round in which the authority fails once asks it for nothing more.
- Only a seal of this place that holds is stamped. An exercise seals nothing here.
- A folder that was copied elsewhere has its stamp copied as well; that, too, is done later where it
  could not be.
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
from standfast.evidence.timestamps import (
    ASK_SECONDS,
    Authority,
    Stamp,
    is_stamped,
    read_roots,
    store_timestamp,
)
from standfast.records import JsonObject, timestamp
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.bucket_copies import elsewhere, name_of
from standfast.usecases.evidence.frozen_folders import (
    NO_AUTHORITY,
    STAMPED,
    folders_of,
    no_evidence_found,
)


@dataclass(frozen=True, kw_only=True)
class Stamped:
    """What became of one folder whose stamp, or the copy of it, was missing."""

    folder: Path
    stamp: Stamp | None = None
    problem: str = ""
    may_pass: bool = False  # the problem is the authority's or the bucket's: try again later

    @property
    def sentence(self) -> str:
        """Say it for people."""
        if self.problem or self.stamp is None:
            return self.problem
        return f"stamped {timestamp(self.stamp.at)} by {self.stamp.authority}"

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            "folder": str(self.folder),
            "stamped_at": timestamp(self.stamp.at) if self.stamp else None,
            "authority": self.stamp.authority if self.stamp else "",
            "problem": self.problem,
        }


def authority_of(config: Config, seconds: float = ASK_SECONDS) -> Authority:
    """Give the authority that is set; UsageError for none, ConfigurationError without its roots."""
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
    """Give the folders without a stamp, or without its line in their chain; asks nobody."""
    return [one for one in folders_of(config, incident) if not is_stamped(one)]


def stamp_pending(
    installation: Installation, incident: str | None = None, *, seconds: float = ASK_SECONDS
) -> Iterator[Stamped]:
    """Have stamped what is not yet, of one incident or of all, and its copy made; safe to repeat.

    Gives each folder that lacked one of both. Asks nobody where none does, or no authority is set.
    """
    config, clock = installation.config, installation.clock
    if config.custody.timestamp is None:
        return
    left = unstamped(config, incident)
    if left:
        yield from _stamp_each(installation, left, authority_of(config, seconds))
    to = elsewhere(config, installation.resolver, clock)
    if to is None:
        return
    uncopied = [one for one in folders_of(config, incident) if _lacks_copy(one, to.where)]
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
    """Do so for an incident; UsageError where no authority is set, or nothing was frozen for it.

    Damaged where all of it is gone.
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
                yield Stamped(folder=folder, problem="its seal does not hold: it is not stamped")
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
                    other = "" if is_there else "another process is having it stamped now"
                    yield Stamped(folder=folder, stamp=stamp, problem=other)
    finally:
        authority.close()


def _note(installation: Installation, folder: Path, stamp: Stamp | None) -> None:
    """Let the timeline have it, and with it the line of custody, where there is a ledger."""
    if stamp is None or not stamp.line:
        return
    name = f"{folder.parent.name}/{folder.name}"
    with (
        suppress(StandfastError),  # the chain of custody has it
        installation.ledger.database.write(
            actor=installation.actor,
            subject=folder.parent.parent.name,
            action=STAMPED,
            now=installation.clock(),
            detail={
                "custody": {name: stamp.line},
                "stamped_at": timestamp(stamp.at),
                "authority": stamp.authority,
            },
        ),
    ):
        pass  # the event is all there is to write


def _lacks_copy(folder: Path, where: str) -> bool:
    try:
        return is_copied(folder, where) and not is_stamp_copied(folder, where)
    except Damaged:
        return False  # verifying names it
