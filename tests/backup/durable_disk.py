"""Durable state of a disk: contents and names at their last sync.

`disk_trace.py` reports each operation of a run to it. A file is identified by device and inode, so
a link or a rename moves no content; an inode number that is reused counts as a new file.
"""

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(eq=False, slots=True)
class Node:
    """Durable state of a file, a link, a pipe or a folder."""

    mode: int
    modified_ns: int = 0
    owner: tuple[int, int] = (-1, -1)  # (-1, -1): never changed
    data: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, "Node"] = field(default_factory=dict)

    def become(self, other: "Node") -> None:
        """Take over the state of another model."""
        self.mode, self.modified_ns, self.owner = other.mode, other.modified_ns, other.owner
        self.data, self.xattrs, self.names = other.data, other.xattrs, other.names


class DurableDisk:
    """A model of durable content; at the start, all content counts as synced."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._nodes: dict[tuple[int, int], Node] = {}
        self._top = {root: self._known(Path(root)) for root in roots}

    def made(self, path: Path) -> None:
        """Record a name for something new; neither content nor name is durable."""
        status = path.lstat()
        node = Node(mode=status.st_mode, modified_ns=status.st_mtime_ns)
        if stat.S_ISLNK(status.st_mode):
            node.data = os.fsencode(path.readlink())
        self._nodes[status.st_dev, status.st_ino] = node

    def read(self, descriptor: Path) -> tuple[Node, Node]:
        """Return the node of a descriptor and a copy of its state, for `synced`."""
        node = self._node(descriptor.stat())
        return node, self._now(descriptor, descriptor.stat())

    def synced(self, node: Node, now: Node) -> None:
        """Record the state at the start of the sync as durable."""
        node.become(now)

    def everything(self) -> None:
        """Record the current state of the whole file system as durable."""
        for root in self._top:
            self._known(Path(root))

    def cut_power(self, *, names_survive: bool) -> None:
        """Keep durable content below the roots; keep current names if they last."""
        for root, top in self._top.items():
            left = self._as_named(Path(root), {}) if names_survive else top
            for path in Path(root).iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            _make(Path(root), left, {})

    def _known(self, path: Path) -> Node:
        status = path.lstat()
        node = self._node(status)
        node.become(self._now(path, status))
        for name in node.names:
            self._known(path / name)
        return node

    def _node(self, status: os.stat_result) -> Node:
        key = (status.st_dev, status.st_ino)
        if key not in self._nodes:
            self._nodes[key] = Node(mode=status.st_mode, modified_ns=status.st_mtime_ns)
        return self._nodes[key]

    def _now(self, path: Path, status: os.stat_result) -> Node:
        now = Node(
            mode=status.st_mode,
            modified_ns=status.st_mtime_ns,
            owner=(status.st_uid, status.st_gid),
        )
        if stat.S_ISREG(status.st_mode):
            now.data = path.read_bytes()
            now.xattrs = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        elif stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as scan:
                now.names = {
                    entry.name: self._node(entry.stat(follow_symlinks=False)) for entry in scan
                }
        elif stat.S_ISLNK(status.st_mode):
            now.data = os.fsencode(path.readlink())
        return now

    def _as_named(self, path: Path, seen: dict[tuple[int, int], Node]) -> Node:
        status = path.lstat()
        key = (status.st_dev, status.st_ino)
        if key in seen:
            return seen[key]
        node = seen[key] = Node(mode=status.st_mode)
        node.become(self._node(status))
        node.mode = status.st_mode
        if stat.S_ISDIR(status.st_mode):
            node.names = {child.name: self._as_named(child, seen) for child in path.iterdir()}
        return node


def _make(path: Path, node: Node, there: dict[Node, Path]) -> None:
    if stat.S_ISDIR(node.mode):
        path.mkdir(exist_ok=True)
        for name, child in node.names.items():
            _make(path / name, child, there)
    elif node in there:
        os.link(there[node], path, follow_symlinks=False)
        return
    elif stat.S_ISLNK(node.mode):
        path.symlink_to(os.fsdecode(node.data))
    elif stat.S_ISFIFO(node.mode):
        os.mkfifo(path)
    elif stat.S_ISREG(node.mode):
        path.write_bytes(node.data)
    there[node] = path
    os.chown(path, *node.owner, follow_symlinks=False)
    for name, value in node.xattrs.items():
        os.setxattr(path, name, value)
    if not stat.S_ISLNK(node.mode):
        path.chmod(stat.S_IMODE(node.mode))
    os.utime(path, ns=(node.modified_ns, node.modified_ns), follow_symlinks=False)
