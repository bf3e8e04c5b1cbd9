"""A source of files: a folder with everything below it, or one file.

- Walks by open folders and never through a symbolic link, so nobody can lead the walk elsewhere
  while it runs, and no path is too long for the kernel.
- A file is opened without blocking and checked to be a file: a fifo put in its place hangs nobody.
- Sockets are left out and noted (they mean nothing without their process); devices and fifos are
  kept as such.
- Files have no common moment: the point is consistent at the start of the walk, and a file that
  changes or is replaced while it is read is kept as read and reported.  One that is gone when its
  turn comes was deleted meanwhile, and is only counted.
- `exclude` has patterns as `exclusion` explains.  An excluded folder is not entered.
- `one_file_system`: what is mounted below the root is noted and not entered.
- `not_entered`: folders that are noted and not entered, wherever they lie below the root: those of
  the backup itself, or each night would store the one before again.
- `own_files`: what the backup itself writes each night.  It is left out, with every name in its
  folder that begins like its own; nobody is asked about what lies elsewhere.
- `ignore_inode`: for network mounts that number files anew each time; size, times, mode and owner
  tell a change then, and second names of a file are kept as files of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from backup.sources import Obstacle, OpenSource, Source
from backup.sources.files.exclusion_patterns import Exclusion
from backup.sources.files.file_walk import OpenFiles
from backup.system.durable_files import resolved


class FilesSource(Source):
    """A folder or a file; `path` may be bytes-strange, `exclude` are patterns as above."""

    kind = "files"
    supports_worker_reader = True

    def __init__(
        self,
        name: str,
        path: Path | str,
        exclude: Sequence[str] = (),
        *,
        one_file_system: bool = False,
        ignore_inode: bool = False,
        not_entered: Sequence[Path] = (),
        own_files: Sequence[Path] = (),
    ) -> None:
        super().__init__(name)
        self.path = Path(path)
        self.exclude = Exclusion(exclude)
        self.one_file_system = one_file_system
        self.ignore_inode = ignore_inode
        self.not_entered = tuple(not_entered)
        self.own_files = tuple(own_files)

    def obstacles(self, scratch: Path) -> list[Obstacle]:
        del scratch
        root = resolved(self.path)
        return [
            Obstacle(
                problem=f"{one} lies in it, and is left out: backups belong on another machine",
                prevents=False,
            )
            for one in self.not_entered
            if resolved(one).is_relative_to(root)
        ]

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        opened = OpenFiles(self, now(), scratch)
        try:
            yield opened
        finally:
            opened.close()
