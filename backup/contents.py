"""The keyed check: everything that any recovery point reaches is read and compared with its hash.

- Each blob is read once however many points need it; a pack with a problem is named once, with
  the first path that it costs.
- A reference into a pack that the snapshot does not name is an error too: a keeper would free
  that pack.
"""

from collections.abc import Callable, Mapping

from backup.blob_reader import BlobReader
from backup.errors import BackupError, Damaged, WrongKey
from backup.findings import FROM_A_COPY, Findings
from backup.format.layout import pack_name
from backup.format.manifest import BlobRef
from backup.format.snapshot import Body
from backup.history import History
from backup.reader import Repository, blobs_of, walk
from backup.records import Point
from backup.selection import Selection

_AGAIN = "back its content up again, and look at who else holds the writer's key"


class Contents:
    """One keyed check of every point."""

    def __init__(
        self,
        repository: Repository,
        histories: Mapping[str, History],
        found: Findings,
        tell: Callable[[str], None],
    ) -> None:
        self._repository = repository
        self._histories = histories
        self._found = found
        self._tell = tell
        self._seen: set[tuple[bytes, int, int, bytes]] = set()
        self._bad_packs: set[bytes] = set()
        self.bytes_read = 0

    def check(self) -> None:
        """Read every point of every domain that the identity opens."""
        for point in self._repository.points():
            if not self._repository.opens(point):
                self._found.note(
                    point.object_name,
                    f"its domain {point.domain} is not opened by this key: it was not read",
                    "run the check with a custodian's key of that domain",
                )
                continue
            try:
                _, body, reader = self._repository.open_point(point)
                self._check_point(point, body, reader)
                self.bytes_read += reader.bytes_read
            except BackupError as error:
                self._found.error(point.object_name, str(error), _AGAIN)

    def _check_point(self, point: Point, body: Body, reader: BlobReader) -> None:
        try:
            named = self._histories[point.writer].packs_of(point.sequence)
        except Damaged:
            named = None  # said by the keyless check
        files = 0
        reached: set[bytes] = set()
        for entry in walk(reader, body, Selection(())):
            files += entry.kind == "file"
            self._tell(f"{point.name} {entry.text}")
            try:
                for ref in blobs_of(reader, entry):
                    reached.update(pack for pack in (ref.pack, ref.next) if pack is not None)
                    self._check_blob(point, ref, reader, entry.text)
            except BackupError as error:
                self._found.error(point.object_name, f"{entry.text}: {error}", _AGAIN)
        # The reader knows the packs of pages and lists; content read for another point it does not.
        unnamed = set() if named is None else {p.hex() for p in reached | reader.reached} - named
        for pack in sorted(unnamed):
            self._found.error(
                point.object_name,
                f"it reaches pack {pack}, which it does not name as needed",
                _AGAIN,
            )
        if files != body.files:
            self._found.error(
                point.object_name, f"it counts {body.files} files and holds {files}", _AGAIN
            )

    def _check_blob(self, point: Point, ref: BlobRef, reader: BlobReader, path: str) -> None:
        key = (ref.pack, ref.offset, ref.inner, ref.id)
        if key in self._seen or ref.pack in self._bad_packs:
            return
        self._seen.add(key)
        try:
            reader.blob(ref)
        except (Damaged, WrongKey) as error:
            self._bad_packs.add(ref.pack)
            self._found.error(
                pack_name(point.writer, ref.pack.hex()),
                f"{error}; it costs at least {path} of {point.name}",
                FROM_A_COPY,
            )
