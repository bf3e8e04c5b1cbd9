"""Database dumps: files that exist only as the output of a program.

- Each dump is one file, streamed from its program. If a dump fails, it is reported, and the
  remaining dumps are tried. At the end, the source fails if any dump has failed.
- The recovery point (the restorable backup) is consistent at the moment before the first dump
  started. Each dump shows its database at its own, later moment.
- In the recovery point, a file belongs to the user that runs the backup, and only this user can
  read it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

from backup.errors import SourceFailed
from backup.format.canonical_json import to_path_text
from backup.records import Unread
from backup.sources import Content, Found, OpenSource
from backup.sources.chunk_sizes import EDITED_CHUNK_BYTES
from backup.sources.client_programs import Command, ProgramFailed, ProgramOutput, run_program
from backup.sources.output_completeness import EndMarker
from backup.sources.synthetic_paths import synthetic_path

_PLAIN = " !#$&'()+,;=@[]{}~^`"  # kept in names, besides letters, digits, dot, dash, underscore


@dataclass(frozen=True, kw_only=True)
class Dump:
    """One file, and the program that produces its content."""

    file_name: str
    command: Command
    first: bytes = b""  # content of the file before the output of the program
    ending: Callable[[], EndMarker] | None = None  # creates the check for an end marker
    missing: str = ""  # content that the dump lacks; if not empty, the recovery point is partial


class OpenDumps(OpenSource):
    """Open source that yields a folder and the dumps in it."""

    def __init__(self, name: str, consistent_at: datetime, dumps: Sequence[Dump]) -> None:
        super().__init__(name, consistent_at)
        self._dumps = sorted(dumps, key=lambda dump: dump.file_name.encode())
        self._by_path = {dump.file_name.encode(): dump for dump in dumps}
        self._failed: list[str] = []

    def _scan(self) -> Iterator[Found | Unread]:
        moment_ns = int(self.consistent_at.timestamp()) * 1_000_000_000
        yield synthetic_path(b"", kind="directory", modified_ns=moment_ns)
        for dump in self._dumps:
            yield synthetic_path(dump.file_name.encode(), kind="file", modified_ns=moment_ns)
            if dump.missing:
                path = to_path_text(f"{self.name}/{dump.file_name}".encode())
                yield Unread(path=path, reason=dump.missing)
        if self._failed:
            more = f", and {len(self._failed) - 1} more" if len(self._failed) > 1 else ""
            raise SourceFailed(
                f"source {self.name}: {len(self._failed)} of {len(self._dumps)} dumps failed"
                f" ({self._failed[0]}{more})."
            )

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        dump = self._by_path[found.path]

        def note_failure(problem: str) -> None:
            self._failed.append(f"{dump.file_name}: {problem}")

        ending = dump.ending() if dump.ending else None
        try:
            with run_program(dump.command, stdout=True) as program:
                yield ProgramOutput(
                    program, first=dump.first, ending=ending, on_failure=note_failure
                )
        except ProgramFailed as error:
            note_failure(str(error))
            raise OSError(str(error)) from error

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return EDITED_CHUNK_BYTES


def dump_file_name(database: str, suffix: str) -> str:
    """Return the file name for a database; any database name is possible."""
    return quote(database, safe=_PLAIN) + suffix


def database_name(file_name: str, suffix: str) -> str:
    """Return the database name from the output of `dump_file_name`."""
    return unquote(file_name.removesuffix(suffix))
