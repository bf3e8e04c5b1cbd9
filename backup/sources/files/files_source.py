"""File source: a folder with all paths below it, or one file; settings.

- Each step of the walk opens one name in an open folder, and no symbolic link is followed. So
  nobody can redirect the walk while it runs, and no path is too long for the kernel.
- A file is opened without blocking, and checked to be a file. So a fifo that replaced a file does
  not block the walk.
- Sockets are omitted and recorded, because a socket is useless without its process. Devices and
  fifos are stored as devices and fifos.
- The recovery point (the restorable backup) is consistent at the start of the walk; it may contain
  later changes. If a file changes or is replaced while it is read, it is stored as it was read, and
  reported. If a file was listed and is deleted before it is read, it is only counted.
- `exclude` contains patterns (see `exclusion_patterns`). An excluded folder is not entered.
- If `one_file_system` is true, mount points below the root are recorded and not entered.
- `not_entered` names folders of the backup itself. They are recorded and not entered, wherever they
  are below the root. Otherwise each nightly backup would store the previous backup again.
- `own_files` names files that the backup itself writes in each run. They are omitted, and so is
  every name in the same folder that begins with the name of one of them. Files outside of the
  source have no effect here.
- `ignore_inode` is for network mounts that assign new inode numbers at each mount. With it, only
  size, times, mode and owner indicate a change, and each name of a file with several names is
  stored as a separate file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from backup.sources import Obstacle, OpenSource, Source
from backup.sources.files.exclusion_patterns import Exclusion
from backup.sources.files.file_walk import OpenFiles
from backup.system.durable_files import resolve_path


class FilesSource(Source):
    """A folder or a file; the module describes the parameters."""

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
        root = resolve_path(self.path)
        return [
            Obstacle(
                problem=f"{folder}: it is inside the source and is omitted. Keep backups on"
                " another machine.",
                prevents=False,
            )
            for folder in self.not_entered
            if resolve_path(folder).is_relative_to(root)
        ]

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        opened = OpenFiles(self, now(), scratch)
        try:
            yield opened
        finally:
            opened.close()
