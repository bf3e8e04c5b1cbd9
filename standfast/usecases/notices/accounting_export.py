"""Accounting of notices as a file (CSV, JSON) for a regulator.

A notice is a message to the people that an incident concerns. The accounting shows its result for
each recipient.

Rules
- The file has one line for each recipient: the handle (a keyed hash of the address), the language,
  the reason for the notification, and the result. Addresses are included only if somebody stated a
  reason to see them.
- The digest of the file is recorded in the audit log before the file has its final name. Every
  exported file can therefore be compared with the log. An existing file is never overwritten.
- The file is written and synced under a temporary name. An interrupted export therefore leaves no
  partial file under the final name.
- Each line is written as soon as it is read, so that a million lines are never all in memory.
"""

import csv
import errno
import glob
import hashlib
import io
import json
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO

from standfast.errors import StandfastError, UsageError
from standfast.evidence.private_files import sync_folder
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import is_gone
from standfast.records import Json, JsonObject, canonical, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.delivery_accounting import Account, Line, account

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def export(
    installation: Installation,
    incident_id: str,
    file: Path,
    *,
    unmasked_because: str = "",
    each: Callable[[Line], object] = lambda line: None,
) -> tuple[list[Account], str]:
    """Write every line to a `.csv` or `.json` file.

    Return the totals of each notice, and the SHA-256 of the file. `unmasked_because` and `each`
    are those of `account`. Raise UsageError for another file extension, and StandfastError if the
    file exists or cannot be written.
    """
    if file.suffix not in _KINDS:
        raise UsageError(f"{file.name}: not a .csv or .json file. Use one of these extensions.")
    with _new_file(file) as draft:
        written = _Written(draft)
        document = _KINDS[file.suffix](written.write, incident_id, timestamp(installation.clock()))
        document.begin(is_clear=bool(unmasked_because))

        def add(line: Line) -> None:
            document_line = line.as_json()
            written.rows.update(canonical(document_line))
            written.lines += 1
            document.add(document_line)
            each(line)

        accounts = account(installation, incident_id, unmasked_because=unmasked_because, each=add)
        document.end(accounts)
        found = written.whole.hexdigest()
        with installation.ledger.database.write(
            actor=installation.actor,
            subject=incident_id,
            action="accounting.exported",
            now=installation.clock(),
            detail={
                "sha256": found,
                "lines": written.lines,
                "rows": written.rows.hexdigest(),
                "is_masked": not unmasked_because,
            },
        ):
            pass  # only the event is written
    return accounts, found


class _Written:
    """The file in progress, with digests of the whole file and of its lines."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.whole, self.rows = hashlib.sha256(), hashlib.sha256()
        self.lines = 0

    def write(self, text: str) -> None:
        content = text.encode()
        self.whole.update(content)
        self._stream.write(content)


class _Csv:
    """CSV output, one line for each person, without totals."""

    def __init__(self, write: Callable[[str], None], incident_id: str, at: str) -> None:
        self._write = write

    def begin(self, *, is_clear: bool) -> None:
        self._names = [field.name for field in fields(Line) if field.name != "address" or is_clear]
        self._write(_row(self._names))

    def add(self, line: JsonObject) -> None:
        self._write(_row([_cell(line.get(name)) for name in self._names]))

    def end(self, accounts: Sequence[Account]) -> None:
        """Write nothing: a reader of the CSV can count the lines."""


class _Json:
    """JSON output, one document with the lines and then the totals."""

    def __init__(self, write: Callable[[str], None], incident_id: str, at: str) -> None:
        self._write, self._between = write, "\n"
        self._begins = {"incident": incident_id, "at": at}

    def begin(self, *, is_clear: bool) -> None:
        self._write(json.dumps(self._begins, ensure_ascii=False)[:-1] + ', "lines": [')

    def add(self, line: JsonObject) -> None:
        self._write(self._between + json.dumps(line, ensure_ascii=False))
        self._between = ",\n"

    def end(self, accounts: Sequence[Account]) -> None:
        notices = json.dumps([total.as_json() for total in accounts], ensure_ascii=False)
        self._write(f'\n], "notices": {notices}}}\n')


_KINDS: Mapping[str, type[_Csv] | type[_Json]] = {".csv": _Csv, ".json": _Json}


@contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """Yield a draft that becomes the file at the end of the block."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        for draft_of_other in file.parent.glob(f".{glob.escape(file.name)}.*.draft"):
            _remove_dead_draft(draft_of_other)
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with os.fdopen(os.open(draft, _NEW, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _publish(draft, file)
        sync_folder(file.parent)
    except OSError as error:
        raise _unwritable(file, error) from None
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, file: Path) -> None:
    """Move the draft to its final name; raise if that name exists."""
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as that of a USB stick
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        draft.replace(file)


def _remove_dead_draft(draft: Path) -> None:
    """Delete a draft that a dead process left: it may contain addresses."""
    pid = draft.suffixes[-2].removeprefix(".")
    if pid.isdecimal() and (int(pid) == os.getpid() or is_gone(host_name(), int(pid))):
        draft.unlink(missing_ok=True)


def _unwritable(file: Path, error: OSError) -> StandfastError:
    return StandfastError(f"{file}: cannot be written: {error.strerror}. Name another file.")


def _row(cells: Sequence[Json]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _cell(value: Json) -> Json:
    """Quote a cell that a spreadsheet could evaluate as a formula."""
    if not isinstance(value, str):
        return value
    # Some programs treat full-width signs as ASCII signs, and skip spaces before the first sign.
    begins = unicodedata.normalize("NFKC", value).lstrip()[:1]
    is_formula = begins in ("=", "+", "-", "@") or value[:1] in ("\t", "\r")
    return f"'{value}" if is_formula else value
