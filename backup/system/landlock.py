"""Landlock: a Linux facility that hides files from a program.

- Landlock needs Linux 5.13 or newer.
- All files except the hidden files and folders remain readable. Landlock can only allow paths. So
  in each folder above a hidden path, the other entries are allowed one by one. A file that is
  created later in one of these folders is not readable.
- A confined program (one from which files are hidden) cannot read the memory or environment of an
  unconfined process. It cannot gain rights by a set-user-ID program such as sudo.
- Landlock does not stop root, who can read disks and environments in other ways.
- If a hidden file has a second name in another folder, by a hard link or bind mount, the file can
  be read by this name.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# From linux/landlock.h; the numbers are the same on every architecture with Python packages.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GIVE_VERSION = 1
_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_NO_NEW_PRIVILEGES = 38  # linux/prctl.h


def is_supported() -> bool:
    """Return whether this kernel can hide files from a program."""
    return _call(_CREATE_RULESET, None, 0, _GIVE_VERSION) > 0


def call_with_hidden_paths(hidden: Iterable[Path], function: Callable[[], T]) -> T:
    """Call a function in a thread that cannot read `hidden`.

    The restriction also applies to every process that the function starts. If the kernel has no
    Landlock, or `hidden` is empty, the function is called without a restriction.
    """
    paths = {os.path.realpath(path) for path in hidden}
    if not paths or not is_supported():
        return function()

    def call_confined() -> T:
        _confine(paths)
        return function()

    with ThreadPoolExecutor(max_workers=1) as thread:  # the restriction ends with the thread
        return thread.submit(call_confined).result()


def _confine(hidden: set[str]) -> None:
    attributes = struct.pack("=Q", _READ_FILE)
    ruleset = _check_result(_call(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for path in _visible_paths("/", hidden):
            _allow(ruleset, path)
        _check_result(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _check_result(_call(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _visible_paths(folder: str, hidden: set[str]) -> Iterator[str]:
    """Yield the paths below a folder that are not hidden, as few as possible."""
    try:
        entries = list(Path(folder).iterdir())
    except OSError:
        return  # this user cannot list the folder, so the program cannot list it either
    for entry in entries:
        path = str(entry)
        if path in hidden:
            continue
        if any(hidden_path.startswith(f"{path}/") for hidden_path in hidden):
            yield from _visible_paths(path, hidden)
        else:
            yield path


def _allow(ruleset: int, path: str) -> None:
    try:
        # Do not allow the target of a symbolic link, which may be a hidden file. A target that is
        # not hidden is allowed by its own path.
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # it was removed after the listing
    try:
        rule = struct.pack("=Qi", _READ_FILE, descriptor)
        _check_result(_call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: bytes | int | None) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    return result


def _check_result(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
