"""The account of an incident's notices as a file for a regulator: each person in one line.

Rules
- It has no more of a person than the ledger's name for them, the language and why, unless somebody
  gave a reason to see addresses.
- Its digest stands in the timeline before the file is there, so that the one can be held against
  the other; a file that is there already is never written over.
- It is written and synced beside its name: whoever dies over it leaves no part of it there.
- A million lines are written as they are read, never held.
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
from standfast.evidence.durable_files import sync_folder
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
    """Write every line to a `.csv` or `.json` file; give the accounts and the file's SHA-256.

    Otherwise as `account`. UsageError for another ending; StandfastError when the file is there
    already or cannot be written.
    """
    if file.suffix not in _KINDS:
        raise UsageError(f"an export is a .csv or a .json file, not {file.name}")
    with _new_file(file) as draft:
        written = _Written(draft)
        document = _KINDS[file.suffix](written.write, incident_id, timestamp(installation.clock()))
        document.begin(is_clear=bool(unmasked_because))

        def add(line: Line) -> None:
            one = line.as_json()
            written.rows.update(canonical(one))
            written.lines += 1
            document.add(one)
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
            pass  # before the file: what left is noted, also when writing it then fails
    return accounts, found


class _Written:
    """What was written so far, and the digests of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.whole, self.rows = hashlib.sha256(), hashlib.sha256()
        self.lines = 0

    def write(self, text: str) -> None:
        content = text.encode()
        self.whole.update(content)
        self._stream.write(content)


class _Csv:
    """A line a person; the totals follow from them."""

    def __init__(self, write: Callable[[str], None], incident_id: str, at: str) -> None:
        self._write = write

    def begin(self, *, is_clear: bool) -> None:
        self._names = [one.name for one in fields(Line) if one.name != "address" or is_clear]
        self._write(_row(self._names))

    def add(self, one: JsonObject) -> None:
        self._write(_row([_cell(one.get(name)) for name in self._names]))

    def end(self, accounts: Sequence[Account]) -> None:
        """Nothing follows."""


class _Json:
    """One document: the lines, and then what they add up to."""

    def __init__(self, write: Callable[[str], None], incident_id: str, at: str) -> None:
        self._write, self._between = write, "\n"
        self._begins = {"incident": incident_id, "at": at}

    def begin(self, *, is_clear: bool) -> None:
        self._write(json.dumps(self._begins, ensure_ascii=False)[:-1] + ', "lines": [')

    def add(self, one: JsonObject) -> None:
        self._write(self._between + json.dumps(one, ensure_ascii=False))
        self._between = ",\n"

    def end(self, accounts: Sequence[Account]) -> None:
        notices = json.dumps([one.as_json() for one in accounts], ensure_ascii=False)
        self._write(f'\n], "notices": {notices}}}\n')


_KINDS: Mapping[str, type[_Csv] | type[_Json]] = {".csv": _Csv, ".json": _Json}


@contextmanager
def _new_file(file: Path) -> Iterator[BinaryIO]:
    """Give a draft that becomes the file once the block ends; the file is whole or not there."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        for left in file.parent.glob(f".{glob.escape(file.name)}.*.draft"):
            _drop_of_the_dead(left)
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with os.fdopen(os.open(draft, _NEW, 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _give_name(draft, file)
        sync_folder(file.parent)
    except OSError as error:
        raise _unwritable(file, error) from None
    finally:
        draft.unlink(missing_ok=True)


def _give_name(draft: Path, file: Path) -> None:
    """Let the draft be found as the file, and never write over another."""
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:  # a file system that knows one name a file, such as that of a stick
        if os.path.lexists(file):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        draft.replace(file)


def _drop_of_the_dead(draft: Path) -> None:
    """Take away what an export left that died: it may have people's addresses."""
    pid = draft.suffixes[-2].removeprefix(".")
    if pid.isdecimal() and (int(pid) == os.getpid() or is_gone(host_name(), int(pid))):
        draft.unlink(missing_ok=True)


def _unwritable(file: Path, error: OSError) -> StandfastError:
    return StandfastError(f"{file} cannot be written: {error.strerror}; name another file")


def _row(cells: Sequence[Json]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _cell(value: Json) -> Json:
    """Keep a spreadsheet from taking a customer's text for a formula."""
    if not isinstance(value, str):
        return value
    # Some take full-width signs for the plain ones, and skip any space before them.
    begins = unicodedata.normalize("NFKC", value).lstrip()[:1]
    is_formula = begins in ("=", "+", "-", "@") or value[:1] in ("\t", "\r")
    return f"'{value}" if is_formula else value
