"""System calls of a forked process, stopped at their start and end.

For Linux on x86-64. This module owns the stops; `disk_trace.py` interprets the calls. The process
is traced with all its threads and forks, whether Python, SQLite or a library makes the call.

- Call it from a process with a single thread, because it forks.
- If the tracer dies, the traced process dies.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SYSCALLS = {
    1: "write", 2: "open", 18: "pwrite64", 20: "writev", 40: "sendfile", 73: "flock",
    74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir",
    84: "rmdir", 85: "creat", 86: "link", 87: "unlink", 88: "symlink", 90: "chmod", 91: "fchmod",
    92: "chown", 93: "fchown", 94: "lchown", 133: "mknod", 162: "sync", 188: "setxattr",
    189: "lsetxattr", 190: "fsetxattr", 235: "utimes", 257: "openat", 258: "mkdirat",
    259: "mknodat", 260: "fchownat", 263: "unlinkat", 264: "renameat", 265: "linkat",
    266: "symlinkat", 268: "fchmodat", 280: "utimensat", 285: "fallocate", 296: "pwritev",
    306: "syncfs", 316: "renameat2", 326: "copy_file_range", 328: "pwritev2",
}  # fmt: skip
WHERE_TRACED = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64",
    reason="system calls are traced on Linux on x86-64 only",
)

_TRACEME, _CONT_SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
# TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, EXITKILL
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x100000
_ENTRY, _EXIT = 1, 2
_WALL = 0x40000000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_FAILED = 101


class _Info(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("values", ctypes.c_uint64 * 8),  # entry: number and arguments; exit: result, is_error
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """A thread that is stopped at the start or end of a call."""

    thread: int
    call: str
    arguments: tuple[int, ...]
    is_entry: bool
    result: int = 0  # after the call; a negative value is an error

    @property
    def process(self) -> int:
        """Return the process of the thread."""
        status = Path(f"/proc/{self.thread}/status").read_text()
        return int(status.split("Tgid:", 1)[1].split(maxsplit=1)[0])

    def text(self, argument: int) -> bytes:
        """Return the C string to which an argument points."""
        with open(f"/proc/{self.thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123 - /proc
            memory.seek(self.arguments[argument])
            found = b""
            while b"\0" not in found and len(found) < 8192:
                # Do not read past the end of a page: the next page may not be mapped.
                found += memory.read(256 - memory.tell() % 256)
        return found.split(b"\0", 1)[0]

    def signed(self, argument: int) -> int:
        """Return an argument as a C int."""
        return ctypes.c_int(self.arguments[argument]).value


class Traced:
    """A process that runs `act`; iteration yields its stops.

    The process continues between two stops. The stops of its forks are included; the iteration ends
    when all of them have ended.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self.exit_code: int | None = None  # like `Process.exitcode`: a negative number is a signal
        self.process = os.fork()
        if self.process == 0:
            _be_traced(act)
        os.waitpid(self.process, _WALL)
        _ptrace(_SETOPTIONS, self.process, _OPTIONS)

    def __iter__(self) -> Iterator[Stop]:
        begun: dict[int, Stop] = {}
        known = {self.process}
        _go_on(self.process)
        while True:
            try:
                thread, status = os.waitpid(-self.process, _WALL)
            except ChildProcessError:
                return
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                known.discard(thread)
                if thread == self.process:
                    self.exit_code = os.waitstatus_to_exitcode(status)
                continue
            what = os.WSTOPSIG(status)
            deliver = 0
            if what == _SYSCALL_STOP:
                stop = _stop_of(thread, begun)
                if stop is not None:
                    yield stop
            elif thread not in known:
                known.add(thread)  # a new thread begins with its own stop
            elif status >> 16 == 0:
                deliver = what
            _go_on(thread, deliver)

    def kill(self) -> None:
        """Kill the process and all its forks at once, as a power switch does."""
        os.killpg(self.process, signal.SIGKILL)


def forked(act: Callable[[], None]) -> int:
    """Run `act` untraced in a process of its own; return its exit code."""
    process = os.fork()
    if process == 0:
        _do(act)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _be_traced(act: Callable[[], None]) -> None:
    os.setpgid(0, 0)
    _libc.ptrace(_TRACEME, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    _do(act)


def _do(act: Callable[[], None]) -> None:
    code = _FAILED
    try:
        act()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stop_of(thread: int, begun: dict[int, Stop]) -> Stop | None:
    info = _Info()
    size = ctypes.sizeof(info)
    _libc.ptrace(_GET_SYSCALL_INFO, thread, size, ctypes.addressof(info))
    if info.op == _ENTRY:
        call = SYSCALLS.get(info.values[0])
        if call is None:
            begun.pop(thread, None)
            return None
        arguments = tuple(info.values[1:7])
        stop = Stop(thread=thread, call=call, arguments=arguments, is_entry=True)
        begun[thread] = stop
        return stop
    entry = begun.pop(thread, None)
    if info.op != _EXIT or entry is None:
        return None
    return Stop(
        thread=thread,
        call=entry.call,
        arguments=entry.arguments,
        is_entry=False,
        result=ctypes.c_int64(info.values[0]).value,
    )


def _go_on(thread: int, deliver: int = 0) -> None:
    # A thread that was killed meanwhile cannot be continued; wait for its end.
    _libc.ptrace(_CONT_SYSCALL, thread, None, deliver)


def _ptrace(request: int, thread: int, data: int) -> None:
    if _libc.ptrace(request, thread, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace is not to be had here: {os.strerror(error)}")
