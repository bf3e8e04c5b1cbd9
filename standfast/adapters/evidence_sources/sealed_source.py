"""Base class of sources: collects into a folder, seals it, copies it.

    FOLDER/SOURCE/TOKEN.partial/            during the collection
    FOLDER/SOURCE/TOKEN/files/…             the collected files
                       /manifest.json
                       /seal.dsse.json
                       /custody.jsonl
                       /key.age                 the data key, encrypted, if the files are encrypted

A subclass writes the files and returns their items for the manifest (the list of the collected
files with their hashes). To seal a folder is to sign its manifest (`evidence.seal`). TOKEN is the
token of the order, the request to collect.

Rules
- Everything is written and synchronised under `.partial`; one rename completes the folder. A folder
  without the ending `.partial` is therefore complete.
- The `.partial` of a dead collector is emptied by the next collector. A running collector locks its
  `.partial`, and a second collector's result is FAILED with a time for a retry.
- If a store for copies is configured, the sealed folder is copied there before the result is DONE.
  If the copy fails, the result is FAILED, the sealed folder remains, and a repeated call copies it.
- If nothing could be read, the result is FAILED with the reason of the first item, and the folder
  is removed. If the collected data cannot be written, the reason names the evidence folder, not the
  source.
"""

import fcntl
import hashlib
import os
import re
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import BackupError, StoreUnavailable
from standfast import __version__
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.config.base_section import Section
from standfast.config.sections.accounts import AccountsConfig
from standfast.errors import ConfigurationError, Damaged, StandfastError, Unavailable
from standfast.evidence.bucket_copy import CopyDestination, copy_folder, is_copied
from standfast.evidence.custody import Act, append_custody, read_custody
from standfast.evidence.host_clock import HostClock, read_host_clock
from standfast.evidence.item_encryption import new_key
from standfast.evidence.item_file import FILES_FOLDER, ItemFolder
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.private_files import make_private, sync_folder, sync_tree
from standfast.evidence.seal import is_sealed, read_sealed, write_seal
from standfast.evidence.tree_copy import StorageError
from standfast.evidence.wrapped_key import copy_key, is_key_copied, write_key
from standfast.host_name import host_name
from standfast.plurals import counted
from standfast.records import EffectState, JsonObject, Now, Order, Result, timestamp
from standfast.retry_rules import COPY_STORE_SECONDS, OTHER_COLLECTOR_SECONDS
from standfast.secrets import Reveal

_Directory = TypeVar("_Directory", bound=Section)
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


class _AnotherCollects(Exception):
    pass


class _NothingRead(Exception):
    """Nothing could be collected; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class SourceContext:
    """Objects that a source needs besides its settings."""

    signing_key: Ed25519PrivateKey
    clock: Now
    reveal: Reveal
    host_clock: Callable[[], HostClock] = read_host_clock
    copy_destination: CopyDestination | None = None  # the store for copies of sealed folders
    custodians: tuple[str, ...] = ()  # public keys for the data key; none: no encryption
    key_copies: tuple[Path, ...] = ()  # folders that receive a copy of each encrypted data key
    accounts: Mapping[str, AccountsConfig] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep

    def directory(self, name: str, kind: type[_Directory]) -> _Directory:
        """Return the settings of the directory that keeps the source's log."""
        settings = self.accounts.get(name)
        if not isinstance(settings, kind):
            raise ConfigurationError(
                f"directory {name!r}: not configured, or of another kind. Correct `directory`."
            )
        return settings


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Items that a source wrote below `files/`, and the paths that it read."""

    items: tuple[Item, ...]
    paths: tuple[str, ...]  # paths, commands or addresses that were read
    exclude: tuple[str, ...] = ()
    excluded: int = 0


class SealedSource(EvidenceSource):
    """A source with one sealed folder for each order.

    The constructor checks the name and reads nothing.
    """

    def __init__(self, name: str, context: SourceContext) -> None:
        if not _FOLDER_NAME.fullmatch(name):
            raise ConfigurationError(
                f"evidence source {name!r}: the name is not valid for a folder. Choose another."
            )
        self.name = name
        self._signing_key = context.signing_key
        self._public_key = context.signing_key.public_key()
        self._clock = context.clock
        self._host_clock = context.host_clock
        self._copy_destination = context.copy_destination
        self._custodians, self._key_copies = context.custodians, context.key_copies

    @abstractmethod
    def _scope(self) -> str:
        """Return the scope of the collection for the plan, or raise `Unavailable`."""

    @abstractmethod
    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        """Write the files below `files`, durably, and return their items.

        There is at least one item. If the source fails, an item has the reason. Raises
        `Unavailable` if the source fails before anything is collected, and `StorageError` if a
        file cannot be written.
        """

    def describe(self) -> str:
        """Return the scope of the collection and the destination of the copy."""
        then = f"; then copy it to {self._copy_destination.where}" if self._copy_destination else ""
        return f"{self._scope()}{then}"

    def find(self, order: Order, custody: Custody) -> bool:
        """Return whether the order's folder is sealed and all its copies exist."""
        place = self._folder_of(order, custody)
        if not is_sealed(place, self._public_key) or not is_key_copied(place, self._key_copies):
            return False
        try:
            return self._copy_destination is None or is_copied(place, self._copy_destination.where)
        except Damaged:
            return False

    def collect(self, order: Order, custody: Custody) -> Result:
        """Collect and seal, or return the result of an earlier call."""
        if not _FOLDER_NAME.fullmatch(order.token):
            return _failed(order, "the order's token cannot name a folder")
        place = self._folder_of(order, custody)
        try:
            if not place.exists():
                make_private(place.parent)
                with _lock_partial(place.with_name(f"{place.name}.partial")) as partial:
                    if not place.exists():
                        self._collect_into(partial, order, custody)
        except _AnotherCollects:
            return _failed(
                order, "another runner is collecting this evidence", OTHER_COLLECTOR_SECONDS
            )
        except _NothingRead as error:
            return _failed(order, f"nothing could be read: {error}")
        except ConfigurationError as error:
            return _failed(order, str(error))
        except Unavailable as error:
            return _failed(order, str(error), error.retry_after_seconds)
        except (StorageError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            reason = (
                f"evidence folder {custody.folder}: cannot be written, {why}. Free space or "
                "check its disk. The collection is tried again."
            )
            return _failed(order, reason, COPY_STORE_SECONDS)
        if not is_sealed(place, self._public_key):
            return _failed(order, "evidence of this order exists, but its seal does not verify")
        try:
            copy_key(place, self._key_copies, custody.collector, self._clock)
        except (OSError, Damaged) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            why = f"frozen, but its key is not copied: {cause}. The copy is tried again"
            return _failed(order, why, COPY_STORE_SECONDS)
        result = _result(order, place.name, read_sealed(place, self._public_key))
        if self._copy_destination:
            result = self._copy_to_store(result, place, custody)
        with suppress(Damaged):  # a verification reports the damage
            last = read_custody(place)[-1:]
            hashes = [entry.hash for entry in last]
            result = replace(result, facts={**result.facts, "custody": hashes})
        return result

    def _copy_to_store(self, result: Result, place: Path, custody: Custody) -> Result:
        """Copy a sealed folder to the store unless it was copied before."""
        assert self._copy_destination is not None  # noqa: S101  # for the type checker
        where = self._copy_destination.where
        name = f"{custody.incident}/{self.name}/{place.name}"
        try:
            if not is_copied(place, where):
                store = self._copy_destination.open()
                copy_folder(place, name, store, where, custody.collector, self._clock)
        except (BackupError, StandfastError, OSError) as error:
            may_pass = isinstance(error, StoreUnavailable | Unavailable)
            return replace(
                result,
                state=EffectState.FAILED,
                reason=f"{result.reason} and sealed here, but not copied to {where}: {error}",
                retry_after_seconds=COPY_STORE_SECONDS if may_pass else None,
            )
        return replace(
            result,
            reason=f"{result.reason}, and copied to {where}",
            facts={**result.facts, "copied_to": where},
        )

    def _collect_into(self, partial: Path, order: Order, custody: Custody) -> None:
        """Collect into `partial`, seal and rename it; `_NothingRead` if empty."""
        started = self._clock()
        key = new_key() if self._custodians else None
        encryption = write_key(partial, key, self._custodians) if key else None
        files = ItemFolder(path=partial / FILES_FOLDER, key=key)
        files.path.mkdir(mode=0o700)
        collected = self._collect(files, custody)
        if all(item.kind is Kind.UNREAD for item in collected.items):
            raise _NothingRead(collected.items[0].reason)
        sync_tree(files.path)
        ended = self._clock()
        manifest = Manifest(
            incident=custody.incident,
            source=self.name,
            token=order.token,
            collector=custody.collector,
            reason=custody.reason,
            host=host_name(),
            version=__version__,
            started=timestamp(started),
            ended=timestamp(ended),
            paths=collected.paths,
            exclude=collected.exclude,
            excluded=collected.excluded,
            items=collected.items,
            clock=self._host_clock(),  # after the copies: a slow time service must not delay them
            encryption=encryption,
        )
        write_seal(partial, manifest, self._signing_key)
        append_custody(
            partial, at=ended, who=custody.collector, act=Act.COLLECTED, detail=custody.reason
        )
        place = partial.with_name(order.token)
        partial.rename(place)
        sync_folder(place.parent)

    def _folder_of(self, order: Order, custody: Custody) -> Path:
        return custody.folder / self.name / order.token


@contextmanager
def _lock_partial(partial: Path) -> Iterator[Path]:
    """Lock and empty `partial` while collecting; remove it afterwards.

    After a successful collection, `partial` was renamed and does not exist any more.
    """
    partial.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _AnotherCollects from None
        # The process that held the lock before may have renamed or removed the folder.
        if not partial.exists() or not os.path.samestat(os.fstat(descriptor), partial.stat()):
            raise _AnotherCollects
        for inner in partial.iterdir():
            shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(descriptor)


def _result(order: Order, folder: str, manifest: Manifest) -> Result:
    counts = manifest.counts
    reason = f"{counted(counts.files, 'file')} frozen"
    if counts.incomplete:
        reason += f", {counts.incomplete} of them incomplete"
    if counts.unread:
        reason += f", {counts.unread} not read"
    return Result(
        target=order.target,
        state=EffectState.DONE,
        reason=reason,
        facts={
            "manifest": hashlib.sha256(manifest.as_bytes()).hexdigest(),
            "folder": f"{manifest.source}/{folder}",
            **asdict(counts),
            **_clock_facts(manifest),
        },
    )


def _clock_facts(manifest: Manifest) -> JsonObject:
    if manifest.clock is None:
        return {}
    return {
        "clock_offset_microseconds": manifest.clock.offset_microseconds,
        "clock_known_by": manifest.clock.known_by,
    }


def _failed(order: Order, reason: str, retry_after_seconds: float | None = None) -> Result:
    return Result(
        target=order.target,
        state=EffectState.FAILED,
        reason=reason,
        retry_after_seconds=retry_after_seconds,
    )
