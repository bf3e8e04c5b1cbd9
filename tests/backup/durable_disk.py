"""What a disk has for sure: contents and names as they were when they were last synced.

Fed by `disk_trace.py` as a run goes on.  Files are told apart by device and inode, so a link or a
rename moves nothing; a number that is used again for a new file begins anew.
"""

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False, slots=True)
class Node:
    """A file, a symbolic link or a folder, as it is durable."""

    mode: int
    modified_ns: int = 0
    data: bytes = b""
    names: dict[str, "Node"] = field(default_factory=dict)


class DurableDisk:
    """Everything below the roots that is there at the beginning counts as synced."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._nodes: dict[tuple[int, int], Node] = {}
        self._top = {root: self._known(Path(root)) for root in roots}

    def made(self, path: Path) -> None:
        """A name was made for something new: neither its content nor the name is durable."""
        status = path.lstat()
        node = Node(mode=status.st_mode, modified_ns=status.st_mtime_ns)
        if stat.S_ISLNK(status.st_mode):
            node.data = os.fsencode(path.readlink())
        self._nodes[status.st_dev, status.st_ino] = node

    def read(self, descriptor: Path) -> tuple[Node, Node]:
        """The file or folder behind a descriptor, and how it is now: for `synced`, if it works."""
        node = self._node(descriptor.stat())
        return node, self._now(descriptor, descriptor.stat())

    def synced(self, node: Node, now: Node) -> None:
        """How it was when the sync began is durable."""
        node.mode, node.modified_ns = now.mode, now.modified_ns
        node.data, node.names = now.data, now.names

    def everything(self) -> None:
        """The whole file system was synced: how it is now is durable."""
        for root in self._top:
            self._known(Path(root))

    def cut_power(self, *, names_survive: bool) -> None:
        """Leave below the roots what is durable; names of now, too, when they survive."""
        for root, top in self._top.items():
            left = self._as_named(Path(root)) if names_survive else top
            for path in Path(root).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            _make(Path(root), left)

    def _known(self, path: Path) -> Node:
        status = path.lstat()
        node = self._node(status)
        now = self._now(path, status)
        node.data, node.names = now.data, now.names
        for name in node.names:
            self._known(path / name)
        return node

    def _node(self, status: os.stat_result) -> Node:
        key = (status.st_dev, status.st_ino)
        if key not in self._nodes:
            self._nodes[key] = Node(mode=status.st_mode, modified_ns=status.st_mtime_ns)
        return self._nodes[key]

    def _now(self, path: Path, status: os.stat_result) -> Node:
        now = Node(mode=status.st_mode, modified_ns=status.st_mtime_ns)
        if stat.S_ISREG(status.st_mode):
            now.data = path.read_bytes()
        elif stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as scan:
                now.names = {
                    entry.name: self._node(entry.stat(follow_symlinks=False)) for entry in scan
                }
        elif stat.S_ISLNK(status.st_mode):
            now.data = os.fsencode(path.readlink())
        return now

    def _as_named(self, path: Path) -> Node:
        status = path.lstat()
        durable = self._node(status)
        node = Node(mode=status.st_mode, modified_ns=durable.modified_ns, data=durable.data)
        if stat.S_ISDIR(status.st_mode):
            node.names = {child.name: self._as_named(child) for child in path.iterdir()}
        return node


def _make(path: Path, node: Node) -> None:
    if stat.S_ISDIR(node.mode):
        path.mkdir(exist_ok=True)
        for name, child in node.names.items():
            _make(path / name, child)
        path.chmod(stat.S_IMODE(node.mode))
    elif stat.S_ISLNK(node.mode):
        path.symlink_to(os.fsdecode(node.data))
    elif stat.S_ISREG(node.mode):
        path.write_bytes(node.data)
        path.chmod(stat.S_IMODE(node.mode))
        os.utime(path, ns=(node.modified_ns, node.modified_ns))
