"""Files and folders as evidence: walk, copy, hash and seal in one pass.

    FOLDER/SOURCE/TOKEN.partial/            while it is collected
    FOLDER/SOURCE/TOKEN/files/…             the copies, under their whole path
                       /manifest.json
                       /seal.dsse.json
                       /custody.jsonl

`evidence.tree_copy` reads the untrusted tree, and `evidence.seal` signs.

Rules
- Everything is written and synchronised under `.partial`; one rename turns it into evidence. A
  folder without `.partial` is complete.
- The `.partial` of a dead collector is removed by the next one. A running collector holds a lock on
  it, and a second one is asked to try again later.
- If a store for copies is configured, the sealed folder is copied there before it counts as
  collected. A failed copy fails the collection, which is repeated; the sealed folder here stays.
- If nothing could be read, the result is FAILED, and nothing stays behind. If the copy cannot be
  written, the result is FAILED with that reason, not with one of the original.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import BackupError, StoreUnavailable
from standfast import __version__
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.errors import ConfigurationError, Damaged, StandfastError, Unavailable
from standfast.evidence.bucket_copy import Elsewhere, copy_folder, is_copied
from standfast.evidence.custody import Act, append_custody, read_custody
from standfast.evidence.host_clock import HostClock, read_host_clock
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.private_files import make_private, sync_folder, sync_tree
from standfast.evidence.seal import FILES_FOLDER, is_sealed, read_sealed, write_seal
from standfast.evidence.tree_copy import StorageError, Walk, is_left_out
from standfast.host_name import host_name
from standfast.plurals import counted
from standfast.records import EffectState, JsonObject, Now, Order, Result, timestamp
from standfast.retry_rules import COPY_STORE_SECONDS, OTHER_COLLECTOR_SECONDS

_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


class _AnotherCollects(Exception):
    pass


class FilesEvidence(EvidenceSource):
    """Files and folders on this machine.

    The constructor checks the names and reads nothing.
    """

    def __init__(
        self,
        *,
        name: str,
        paths: Sequence[Path],
        exclude: Sequence[str] = (),
        signing_key: Ed25519PrivateKey,
        clock: Now,
        host_clock: Callable[[], HostClock] = read_host_clock,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Set the paths and the excluded patterns.

        `exclude` contains shell patterns, matched against the whole path and its last name. With
        `elsewhere` the evidence counts as collected only after it was copied there too.
        """
        if not _FOLDER_NAME.fullmatch(name):
            raise ConfigurationError(
                f"evidence source {name!r}: the name is not valid for a folder. Choose another."
            )
        if not paths or not all(path.is_absolute() for path in paths):
            raise ConfigurationError(
                f"evidence source {name!r}: `paths` must be absolute. Correct them."
            )
        self.name = name
        # If one path contains another, copy the outer one only: both have the same destination.
        self._paths = _outermost([os.path.normpath(path) for path in paths])
        self._exclude = tuple(exclude)
        self._signing_key = signing_key
        self._public_key = signing_key.public_key()
        self._clock = clock
        self._host_clock = host_clock
        self._elsewhere = elsewhere

    def describe(self) -> str:
        """Return the paths to be frozen; `Unavailable` if none of them exists."""
        missing = [path for path in self._paths if not Path(path).exists()]
        if len(missing) == len(self._paths):
            raise Unavailable(f"evidence source {self.name!r}: none of its paths exists")
        shown = ", ".join(path for path in self._paths if path not in missing)
        absent = f"; missing: {', '.join(missing)}" if missing else ""
        then = f"; then copy it to {self._elsewhere.where}" if self._elsewhere else ""
        return f"copy, hash and seal {shown}{absent}{then}"

    def find(self, order: Order, custody: Custody) -> bool:
        """Return whether a folder sealed with our key exists, and its copy."""
        place = self._place(order, custody)
        if not is_sealed(place, self._public_key):
            return False
        try:
            return self._elsewhere is None or is_copied(place, self._elsewhere.where)
        except Damaged:
            return False

    def collect(self, order: Order, custody: Custody) -> Result:
        """Freeze the paths, or return the result of an earlier call."""
        if not _FOLDER_NAME.fullmatch(order.token):
            return _failed(order, "the order's token cannot name a folder")
        place = self._place(order, custody)
        try:
            if not place.exists():
                make_private(place.parent)
                with _claimed(place.with_name(f"{place.name}.partial")) as partial:
                    if not place.exists() and not self._fill(partial, order, custody):
                        return _failed(order, "nothing could be read. Check that the paths exist.")
        except _AnotherCollects:
            return _failed(order, "another runner is collecting this", OTHER_COLLECTOR_SECONDS)
        except (StorageError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            reason = (
                f"evidence folder {custody.folder}: cannot be written, {why}. Free space or check "
                "its disk. It is tried again."
            )
            return _failed(order, reason, COPY_STORE_SECONDS)
        if not is_sealed(place, self._public_key):
            return _failed(order, "evidence of this order exists, but its seal does not verify")
        result = _result(order, place.name, read_sealed(place, self._public_key))
        if self._elsewhere:
            result = self._copied(result, place, custody)
        with suppress(Damaged):  # a verification reports the damage
            last = read_custody(place)[-1:]
            hashes = [entry.hash for entry in last]
            result = replace(result, facts={**result.facts, "custody": hashes})
        return result

    def _copied(self, result: Result, place: Path, custody: Custody) -> Result:
        """Copy a sealed folder to the store unless it was copied before."""
        assert self._elsewhere is not None  # noqa: S101  # for the type checker
        where = self._elsewhere.where
        name = f"{custody.incident}/{self.name}/{place.name}"
        try:
            if not is_copied(place, where):
                store = self._elsewhere.open()
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

    def _fill(self, partial: Path, order: Order, custody: Custody) -> bool:
        """Collect into `partial` and rename it; False if nothing could be frozen."""
        started = self._clock()
        own = custody.folder.stat()
        walk = Walk(
            destination=partial / FILES_FOLDER,
            is_excluded=self._is_excluded,
            own_folder=(own.st_dev, own.st_ino),
        )
        walk.destination.mkdir(mode=0o700)
        items: list[Item] = [item for path in self._paths for item in walk.freeze(path)]
        if all(item.kind is Kind.UNREAD for item in items):
            return False
        sync_tree(walk.destination)
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
            paths=self._paths,
            exclude=self._exclude,
            excluded=walk.excluded,
            items=tuple(items),
            clock=self._host_clock(),  # after the copies: a slow time service must not delay them
        )
        write_seal(partial, manifest, self._signing_key)
        append_custody(
            partial, at=ended, who=custody.collector, act=Act.COLLECTED, detail=custody.reason
        )
        place = partial.with_name(order.token)
        partial.rename(place)
        sync_folder(place.parent)
        return True

    def _is_excluded(self, path: str) -> bool:
        return is_left_out(path, self._exclude)

    def _place(self, order: Order, custody: Custody) -> Path:
        return custody.folder / self.name / order.token


def _outermost(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        path
        for path in dict.fromkeys(paths)
        if not any(path != other and Path(path).is_relative_to(other) for other in paths)
    )


@contextmanager
def _claimed(partial: Path) -> Iterator[Path]:
    """Lock and empty `partial` while collecting; remove it afterwards.

    After a successful rename it does not exist any more.
    """
    partial.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _AnotherCollects from None
        # Between our open and our lock, its holder may have renamed or removed the folder.
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
    reason = f"{counted(counts.files, 'file')} frozen" + (
        f", {counts.unread} not" if counts.unread else ""
    )
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
