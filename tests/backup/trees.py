"""Trees of files to back up, and the attributes that a restore must keep."""

import os
import random
import stat
from pathlib import Path

KIB = 1024


def describe(top: Path) -> dict[bytes, tuple[object, ...]]:
    """Return everything that a restore must restore, by path."""
    links: dict[tuple[int, int], str] = {}
    return {
        os.fsencode(path.relative_to(top)): _one(path, links) for path in sorted(top.rglob("*"))
    }


def _one(path: Path, links: dict[tuple[int, int], str]) -> tuple[object, ...]:
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return (kind, status.st_mtime_ns, os.fsencode(path.readlink()))
    facts = (kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    if stat.S_ISFIFO(status.st_mode):
        return facts
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return (*facts, os.major(status.st_rdev), os.minor(status.st_rdev))
    xattrs = [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
    if stat.S_ISREG(status.st_mode):
        first = links.setdefault((status.st_dev, status.st_ino), path.name)
        return (*facts, xattrs, first, path.read_bytes())
    return (*facts, xattrs)


def owners(top: Path) -> dict[bytes, tuple[int, int]]:
    """Return the owner of each path, including `top`."""
    statuses = ((path, path.lstat()) for path in (top, *top.rglob("*")))
    return {os.fsencode(path.relative_to(top)): (it.st_uid, it.st_gid) for path, it in statuses}


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def plain_tree(top: Path) -> Path:
    """Make a few files of every size class."""
    top.mkdir()
    (top / "empty").write_bytes(b"")
    (top / "note.txt").write_text("who called, and why\n" * 20)
    (top / "calls").mkdir()
    (top / "calls" / "one.wav").write_bytes(noise(300 * KIB, 1))
    (top / "calls" / "two.wav").write_bytes(noise(70 * KIB, 2))
    (top / "calls-old").mkdir()
    (top / "calls-old" / "dump.sql").write_bytes(b"insert into customer values (1);\n" * 9000)
    return top


def strange_tree(top: Path) -> Path:
    """Make every kind of file and attribute that a careless backup loses."""
    plain_tree(top)
    (top / "link").symlink_to("note.txt")
    (top / "dangling").symlink_to(os.fsdecode(b"/nowhere/\xff"))
    os.link(top / "note.txt", top / "calls" / "same-note")
    with (top / "sparse").open("wb") as file:
        file.truncate(8 * 1024 * KIB)
        file.seek(3 * 1024 * KIB)
        file.write(b"in the middle")
    with (top / "all-hole").open("wb") as file:
        file.truncate(1024 * KIB)
    os.mkfifo(top / "fifo", 0o640)
    for name in (
        b"not-utf8-\xff\xfe",
        b"percent-%41",
        b"line\nbreak",
        b"\xc2\x9bcontrol",
        b" space ",
    ):
        (top / os.fsdecode(name)).write_bytes(b"named " + name)
    (top / "locked").mkdir()
    (top / "locked" / "inside").write_text("x")
    (top / "empty-folder").mkdir()
    os.setxattr(top / "note.txt", "user.case", b"\0\xff 42")
    os.setxattr(top / "calls", "user.retention", b"7y")
    (top / "note.txt").chmod(0o600)
    (top / "calls" / "two.wav").chmod(0o444)
    (top / "locked").chmod(0o1711)
    for number, dated in enumerate(("note.txt", "calls/one.wav", "sparse", "calls", "locked")):
        os.utime(top / dated, ns=(1, 1_500_000_000_123_456_789 + number))
    os.utime(top / "link", ns=(1, 1_400_000_000_000_000_001), follow_symlinks=False)
    os.utime(top / "empty", ns=(1, -1_000_000_001))
    return top


def owned_tree(top: Path) -> Path:
    """Make one file of every kind, each with another owner; only root can.

    Raise `PermissionError` where not even root may make devices.
    """
    strange_tree(top)
    os.mknod(top / "null", stat.S_IFCHR | 0o620, os.makedev(1, 3))
    os.mknod(top / "loop", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    # A second name belongs to the same file, and has no owner of its own.
    things = [path for path in sorted(top.rglob("*")) if path.name != "same-note"]
    for number, path in enumerate((top, *things)):
        mode = path.lstat().st_mode
        os.chown(path, 2000 + number, 3000 + 7 * number, follow_symlinks=False)
        if not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode))  # a new owner costs set-id bits
    (top / "note.txt").chmod(0o6750)
    (top / "calls").chmod(0o2770)
    return top
