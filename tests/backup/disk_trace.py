"""Disk operations of a run: a trace, a kill at one, a power cut.

A run is forked and traced system call by system call, so no access to the disk is missed, not even
those of SQLite and other libraries. Below the named folders, each call that changes something is a
point: open that creates or empties, write, sync, link, rename, unlink, creation or removal of a
folder, change of mode, owner, time or attribute.

- `Phase.BEFORE`, `AFTER`: the process is killed with SIGKILL when the call begins or has ended.
- `Phase.DURING`, of a write: half of it has reached the file.
- Processes that the run forks are traced and die with it, unless `Victim` names another one. The
  order of two processes is random, so an operation has a number and a name: `Nth`.
- `cut_power` drops what was not synced: the content of a file since its last fsync, and with
  `names_survive=False` also the names in a folder since the folder's last fsync. With
  `names_survive=True`, names exist without contents, as after a power cut of a journalling file
  system.
- `kill_everywhere` does this for a whole trace. It runs in its own process, which
  `in_tracing_process` starts.
"""

import multiprocessing
import os
import signal
import stat
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.backup.durable_disk import DurableDisk, Node
from tests.backup.ptrace import Stop, Traced, forked
from tests.sampling import sample

_WRITES = {"write": 2, "pwrite64": 2}  # argument number of the length
_SYNCS = {"fsync", "fdatasync"}
_EVERYTHING = "syncfs"
_CREATING = os.O_CREAT | os.O_TRUNC
_AT_CWD = -100
# Argument numbers of the folder's descriptor and the path; None: the path is not relative.
_PATHS: dict[str, tuple[tuple[int | None, int], ...]] = {
    "open": ((None, 0),),
    "openat": ((0, 1),),
    "creat": ((None, 0),),
    "truncate": ((None, 0),),
    "rename": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "link": ((None, 0), (None, 1)),
    "linkat": ((0, 1), (2, 3)),
    "unlink": ((None, 0),),
    "unlinkat": ((0, 1),),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
    "mkdir": ((None, 0),),
    "mkdirat": ((0, 1),),
    "rmdir": ((None, 0),),
    "mknod": ((None, 0),),
    "mknodat": ((0, 1),),
    "chmod": ((None, 0),),
    "fchmodat": ((0, 1),),
    "chown": ((None, 0),),
    "lchown": ((None, 0),),
    "fchownat": ((0, 1),),
    "utimes": ((None, 0),),
    "utimensat": ((0, 1),),
    "setxattr": ((None, 0),),
    "lsetxattr": ((None, 0),),
}
_ON_DESCRIPTOR = {*_WRITES, *_SYNCS, "writev", "pwritev", "pwritev2", "ftruncate", "fallocate",
                  "fchmod", "fchown", "fsetxattr", _EVERYTHING}  # fmt: skip
_TO_DESCRIPTOR = {"sendfile": 0, "copy_file_range": 2}
_NO_MIDDLE = {"writev", "pwritev", "pwritev2", "sendfile", "copy_file_range"}
_MAKING = {
    "open",
    "openat",
    "creat",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
}


class Phase(StrEnum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Victim(StrEnum):
    """The process to kill; for two values, a forked process causes the kill."""

    EVERYBODY = "everybody"
    LANE = "the forked process alone that is at work"
    PARENT = "the process alone that forked it"


class Nth(NamedTuple):
    """Name of an operation: the n-th of its kind at a path, from 1."""

    call: str
    path: str
    nth: int


@dataclass(frozen=True)
class Death:
    """Place of a kill: an operation by number (from 1) or name, and phase."""

    point: int | Nth
    phase: Phase
    victim: Victim = Victim.EVERYBODY


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One change of the disk."""

    call: str
    path: str  # the absolute path; of two paths, the last one
    size: int  # the size of a write, otherwise 0
    nth: int  # the number of this call at this path, from 1
    is_forked: bool  # done by a process that the run forked

    @property
    def name(self) -> Nth:
        return Nth(self.call, self.path, self.nth)

    @property
    def is_write(self) -> bool:
        return self.call in _WRITES and self.size > 1


@dataclass(eq=False, slots=True)
class _Torn:
    """Content before a write, to restore half of it."""

    descriptor: str
    offset: int
    before: bytes
    size_before: int


class DiskTrace:
    """A run that has ended: by itself, or at the point of `death`."""

    def __init__(
        self,
        roots: Sequence[Path],
        act: Callable[[], None],
        death: Death | None = None,
    ) -> None:
        """Run `act` in a process of its own; each root must exist."""
        self._roots = [str(root.resolve(strict=True)) for root in roots]
        self._death = death
        self._disk = DurableDisk(self._roots)
        self._under_way: dict[int, int] = {}  # the number of the operation in progress, by thread
        self._fresh: dict[int, Path] = {}
        self._syncing: dict[int, tuple[Node, Node]] = {}
        self._torn: _Torn | None = None
        self._counts: Counter[tuple[str, str]] = Counter()
        self.operations: list[Operation] = []
        self.failed: set[int] = set()  # numbers of operations that changed nothing
        self.died = False
        self._traced = Traced(act)
        for stop in self._traced:
            if self.died:
                continue
            if stop.is_entry:
                self._begins(stop)
            else:
                self._ended(stop)
        self.exit_code = self._traced.exit_code

    def cut_power(self, *, names_survive: bool) -> None:
        """Keep below the roots only content that was synced before the death."""
        self._disk.cut_power(names_survive=names_survive)

    def _begins(self, stop: Stop) -> None:
        paths = self._paths(stop)
        if paths is None:
            return
        if stop.call in _NO_MIDDLE:
            raise AssertionError(f"{stop.call} is not modelled here: it has a middle to die in")
        size = stop.arguments[_WRITES[stop.call]] if stop.call in _WRITES else 0
        self._counts[stop.call, paths[-1]] += 1
        self.operations.append(
            Operation(
                call=stop.call,
                path=paths[-1],
                size=size,
                nth=self._counts[stop.call, paths[-1]],
                is_forked=stop.process != self._traced.process,
            )
        )
        number = len(self.operations)
        if self._dies(stop, number, Phase.BEFORE):
            return
        self._under_way[stop.thread] = number
        if stop.call in _SYNCS:
            # A write during the sync may or may not be part of the synced content.
            descriptor = Path(f"/proc/{stop.thread}/fd/{stop.signed(0)}")
            self._syncing[stop.thread] = self._disk.read(descriptor)
        elif stop.call in _MAKING and not os.path.lexists(paths[-1]):
            self._fresh[stop.thread] = Path(paths[-1])
        if self._is_here(number, Phase.DURING) and stop.call in _WRITES:
            self._torn = _what_stands(stop)

    def _ended(self, stop: Stop) -> None:
        number = self._under_way.pop(stop.thread, None)
        if number is None:
            return
        syncing = self._syncing.pop(stop.thread, None)
        fresh = self._fresh.pop(stop.thread, None)
        if stop.result < 0:
            self.failed.add(number)
        if stop.result >= 0 and syncing is not None:
            self._disk.synced(*syncing)
        if stop.result >= 0 and stop.call == _EVERYTHING:
            self._disk.everything()
        if stop.result >= 0 and fresh is not None:
            self._disk.made(fresh)
        if self._torn is not None and self._is_here(number, Phase.DURING):
            _tear(self._torn, stop.result)
            self._dies(stop, number, Phase.DURING)
        self._dies(stop, number, Phase.AFTER)

    def _is_here(self, number: int, phase: Phase) -> bool:
        death, operation = self._death, self.operations[number - 1]
        return (
            death is not None
            and death.phase is phase
            and death.point in (number, operation.name)
            and (death.victim is Victim.EVERYBODY or operation.is_forked)
        )

    def _dies(self, stop: Stop, number: int, phase: Phase) -> bool:
        if self._death is None or not self._is_here(number, phase):
            return False
        self.died = True
        match self._death.victim:
            case Victim.EVERYBODY:
                self._traced.kill()
            case Victim.LANE:
                os.kill(stop.process, signal.SIGKILL)
            case Victim.PARENT:
                os.kill(self._traced.process, signal.SIGKILL)
        return True

    def _paths(self, stop: Stop) -> list[str] | None:
        """Return the changed paths if one is below a root, otherwise None."""
        if stop.call == "sync":
            raise AssertionError("it syncs every disk, which is not modelled here")
        if stop.call in _ON_DESCRIPTOR or stop.call in _TO_DESCRIPTOR:
            descriptor = stop.signed(_TO_DESCRIPTOR.get(stop.call, 0))
            paths = [_target(f"/proc/{stop.thread}/fd/{descriptor}")]
        elif stop.call in _PATHS:
            if stop.call.startswith("open") and not stop.arguments[_flags(stop)] & _CREATING:
                return None
            paths = [_resolved(stop, folder, path) for folder, path in _PATHS[stop.call]]
        else:
            return None
        return paths if any(map(self._is_ours, paths)) else None

    def _is_ours(self, path: str) -> bool:
        return any(path == root or path.startswith(root + "/") for root in self._roots)


def _flags(stop: Stop) -> int:
    return 2 if stop.call == "openat" else 1


def _target(link: str) -> str:
    try:
        return os.readlink(link).removesuffix(" (deleted)")  # noqa: PTH115 - /proc, as text
    except OSError:
        return ""


def _resolved(stop: Stop, folder: int | None, path: int) -> str:
    # No path: the call changes the descriptor, as `futimens` does.
    if folder is not None and not stop.arguments[path]:
        return _target(f"/proc/{stop.thread}/fd/{stop.signed(folder)}")
    name = os.fsdecode(stop.text(path))
    if not name.startswith("/"):
        number = _AT_CWD if folder is None else stop.signed(folder)
        base = "cwd" if number == _AT_CWD else f"fd/{number}"
        name = f"{_target(f'/proc/{stop.thread}/{base}')}/{name}"
    # A link at the end of the path is not followed, because the call changes the link itself.
    parent, _, last = name.rstrip("/").rpartition("/")
    return f"{os.path.realpath(parent or '/')}/{last}"


def _what_stands(stop: Stop) -> _Torn:
    descriptor = f"/proc/{stop.thread}/fd/{stop.signed(0)}"
    offset = stop.arguments[3] if stop.call == "pwrite64" else _position(stop)
    content = Path(descriptor).read_bytes()
    return _Torn(
        descriptor=descriptor,
        offset=offset,
        before=content[offset : offset + stop.arguments[_WRITES[stop.call]]],
        size_before=len(content),
    )


def _position(stop: Stop) -> int:
    info = Path(f"/proc/{stop.thread}/fdinfo/{stop.signed(0)}").read_text()
    return int(info.split("pos:", 1)[1].split()[0])


def _tear(torn: _Torn, written: int) -> None:
    """Remove the second half of a write; keep later writes of others."""
    path = Path(torn.descriptor)
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o600)
    half = written // 2
    with path.open("r+b", buffering=0) as file:
        file.seek(torn.offset + half)
        file.write(torn.before[half:].ljust(written - half, b"\0"))
        if file.seek(0, os.SEEK_END) == torn.offset + written:
            file.truncate(max(torn.size_before, torn.offset + half))
    path.chmod(mode)


def kill_everywhere(
    *,
    roots: Callable[[], Sequence[Path]],
    act: Callable[[], None],
    check: Callable[[], None],
    phase: Phase,
    names_survive: bool | None = None,
    victim: Victim = Victim.EVERYBODY,
    by_name: bool = False,
    ends: int = -signal.SIGKILL,
) -> None:
    """Kill `act` at each of its operations; `check` must hold after each kill.

    `roots` restores the state before the run and returns the traced folders. With `names_survive`
    the power is cut too. `by_name` is for a run in random order, in which several processes may try
    an operation and one of them succeeds; a failed operation is no point. `ends` is the exit code
    of a killed run. `--sample` chooses the share of the points. Everything but `roots` runs in
    other processes.
    """
    trace = DiskTrace(roots(), act)
    assert trace.exit_code == 0, "the run ends well when nothing disturbs it"
    assert forked(check) == 0, "and so does what is checked"
    complete: list[int | Nth] = [
        operation.name if by_name else number
        for number, operation in enumerate(trace.operations, 1)
        if (phase is not Phase.DURING or operation.is_write)
        and (victim is Victim.EVERYBODY or operation.is_forked)
        and not (by_name and number in trace.failed)
    ]
    points = sample(complete, f"{act.__qualname__} {phase} {names_survive} {victim}")
    killed: set[int | Nth] = set()
    for point in points:
        # Names of packs are random. If two packs share a folder, the run is shorter or makes
        # another call than a write there; it is then repeated.
        for _ in range(10):
            dead = DiskTrace(roots(), act, Death(point, phase, victim))
            if dead.died:
                break
        if dead.died:
            assert dead.exit_code == ends, f"{phase} {point}"
            killed.add(point)
        if names_survive is not None:
            dead.cut_power(names_survive=names_survive)
        assert forked(check) == 0, f"{phase} {point}: {dead.operations[-1]}"
    assert killed == set(points), "the set of killed points equals the trace"


@contextmanager
def folder_in_memory(otherwise: Path) -> Iterator[Path]:
    """Return a folder in memory, where a sync costs nothing.

    `cut_power` simulates the loss, so no disk is needed.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def in_tracing_process(run: Callable[..., None], *args: Any) -> None:
    """Run `run(*args)` in a process with one thread; raise its errors here."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_reporting, args=(theirs, run, args))
    process.start()
    theirs.close()
    try:
        problem = ours.recv()
    except EOFError:
        problem = "the tracing process ended without a word"
    process.join()
    if problem is not None:
        raise AssertionError(problem)


def _reporting(report: Connection, run: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        run(*args)
    except BaseException:
        report.send(traceback.format_exc())
    else:
        report.send(None)
