"""Timeline of parsed records of all frozen logs, with marks, for people.

Frozen logs are copied and signed as evidence: a signed manifest contains the hash of each log. A
record is one event of a log. Its marks state whether it is selected, and what was found in it.

Rules
- After a log was read to its end, it is compared with the manifest. If it differs, all of its
  records are ignored, because an intruder may have written them.
- Records are ordered by time, then by log and line. If a log was collected several times, each of
  its records appears once.
- A selection decides which records are shown. Detections (rules for suspicious patterns) examine
  all records. For example, they must know all sign-ins of an account to find its first one.
- Lines that are not records, and records that are cut, are counted for each log. The result has the
  line numbers of the first of them.
- A value is masked before it is cut, because a part of a number would not be recognized. A search
  in masked records finds only text and indicators that are visible after masking.
- Memory is bounded for every log: values are cut, and rows beyond a size are stored on the disk.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import BinaryIO, NamedTuple, TypeAlias

from standfast.errors import Damaged
from standfast.evidence.parsers.line_reader import SearchLines
from standfast.evidence.parsers.log_file import read_log
from standfast.evidence.parsers.log_record import Record, microseconds
from standfast.evidence.review.record_masking import MaskRecord, in_clear
from standfast.evidence.review.sorted_runs import Row, SortedRuns
from standfast.evidence.unpacked_pieces import PIECE

LONGEST_TEXT = 500  # characters of an event that are shown
LONGEST_WORD = 64  # characters of a word that is removed if the text is cut within the word
_LONGEST_VALUE = 1_000  # characters of the other values
RUN_ROWS = 100_000  # number of records that are sorted in memory
_RUN_CHARACTERS = 64 * 1024 * 1024  # total size of the records that are sorted in memory
_NAMED_LINES = 5  # number of lines that are named for each log
_LAST_WORD = re.compile(rf"[\w.+@\\-]{{1,{LONGEST_WORD}}}\Z")
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Event(NamedTuple):
    """A record on the timeline, with its log and its marks."""

    at: int
    log: int  # index of its log; all copies of one log have the index of the first
    line: int
    is_zone_assumed: bool
    account: str
    address: str
    action: str
    object: str
    result: str
    device: str
    place: str
    text: str
    indicators: Sequence[str]
    records: Sequence[str]  # identifiers of customer records, found by configured patterns
    is_selected: bool
    is_cut: bool


_VALUES = slice(Event._fields.index("account"), Event._fields.index("indicators"))
_INDICATORS, _RECORDS = map(Event._fields.index, ("indicators", "records"))


@dataclass(frozen=True, kw_only=True)
class Log:
    """One collected file."""

    source: str
    path: str
    collected_at: datetime
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The records to show; an empty field selects all."""

    accounts: frozenset[str] = frozenset()  # names, casefolded, or pseudonyms
    networks: tuple[Network, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    sources: frozenset[str] = frozenset()
    contains: str = ""  # casefolded

    def test(self, mask: MaskRecord = in_clear) -> Callable[[Record, str], bool]:
        """Return a predicate over a record and its source."""
        begin = microseconds(self.since) if self.since else 0
        end = microseconds(self.until) if self.until else 1 << 62
        networks: dict[str, bool] = {}

        def is_selected(record: Record, source: str) -> bool:
            if not begin <= record.at <= end or (self.sources and source not in self.sources):
                return False
            if self.accounts and self.accounts.isdisjoint(
                (record.account.casefold(), mask(record.account, record.account))
            ):
                return False
            if self.networks and not is_within(record.address):
                return False
            return (
                not self.contains or self.contains in mask(record.text, record.account).casefold()
            )

        def is_within(address: str) -> bool:
            if len(networks) > 100_000:
                networks.clear()
            if address not in networks:
                networks[address] = in_networks(address, self.networks)
            return networks[address]

        return is_selected


@dataclass(kw_only=True)
class Tally:
    """The result of reading one log."""

    log: Log
    records: int = 0
    unparsed: int = 0
    first_unparsed: list[int] = field(default_factory=list)  # lines; 0: rest of a damaged file
    cut: int = 0  # number of records that were read or stored only in part
    first_cut: list[int] = field(default_factory=list)
    problem: str = ""  # the reason why all records of the log are ignored, or ""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The checks that need the whole text of a record, before it is cut."""

    selection: Selection = field(default_factory=Selection)
    indicators: Callable[[Record], Sequence[str]] | None = None
    line_search: SearchLines | None = None  # finds the lines that may have an indicator
    records: Callable[[Record], Sequence[str]] | None = None
    mask: MaskRecord = in_clear

    def indicators_in(self, record: Record) -> Sequence[str]:
        """Return the indicators that are in a record before and after masking."""
        found = self.indicators(record) if self.indicators else ()
        if self.indicators is None or not found:
            return found
        address, text = (self.mask(it, record.account) for it in (record.address, record.text))
        masked = record._replace(address=address, text=text)
        return self.indicators(masked)


def in_networks(address: str, networks: Iterable[Network]) -> bool:
    """Return whether a text is an address of any of the networks."""
    try:
        read = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(read in network for network in networks)


def collect_events(logs: Sequence[Log], marks: Marks, runs: SortedRuns) -> list[Tally]:
    """Read the logs into sorted runs (parts of one file).

    Return the result of reading each log.
    """
    tallies: list[Tally] = []
    kept = _Rows()
    numbers: dict[tuple[str, str], int] = {}
    for index, log in enumerate(logs):
        number = numbers.setdefault((log.source, log.path), index)
        tally = Tally(log=log)
        tallies.append(tally)
        rows = _Rows()
        written = []
        try:
            with log.open() as stream:
                for event in _events(number, stream, tally, marks):
                    rows.add(event)
                    if rows.is_full:
                        written.append(runs.write(rows.rows))
                        rows = _Rows()
                while stream.read(PIECE):
                    pass  # the read that reaches the end compares the log with the manifest
        except Damaged as damage:
            tally.problem = str(damage)
            continue
        except OSError as error:
            tally.problem = f"cannot be read: {error.strerror or type(error).__name__}"
            continue
        for run in written:
            runs.keep(run)
        kept.rows += rows.rows
        kept.characters += rows.characters
        if kept.is_full:
            runs.keep(runs.write(kept.rows))
            kept = _Rows()
    runs.keep(runs.write(kept.rows))
    return tallies


@dataclass(kw_only=True)
class _Rows:
    """Rows in memory."""

    rows: list[Row] = field(default_factory=list)
    characters: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.rows) >= RUN_ROWS or self.characters >= _RUN_CHARACTERS

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.characters += sum(map(len, row[_VALUES]))
        if row[_INDICATORS] or row[_RECORDS]:
            self.characters += sum(map(len, (*row[_INDICATORS], *row[_RECORDS])))


def merged_events(runs: SortedRuns) -> Iterator[Event]:
    """Yield the events of all logs by time; yield equal events once."""
    return (Event._make(row) for row, _ in groupby(runs.merged()))


def _events(number: int, stream: BinaryIO, tally: Tally, marks: Marks) -> Iterator[Row]:
    is_selected, source = marks.selection.test(marks.mask), tally.log.source
    for found in read_log(stream, tally.log.collected_at, marks.line_search):
        if isinstance(found, int):
            tally.unparsed += 1
            if len(tally.first_unparsed) < _NAMED_LINES:
                tally.first_unparsed.append(found)
            continue
        tally.records += 1
        values: Sequence[str] = found[3:10]
        is_cut = found.is_cut
        if max(map(len, values)) > _LONGEST_VALUE:
            values = [_short(value, _LONGEST_VALUE, found, marks.mask) for value in values]
            is_cut = True
        if is_cut:
            tally.cut += 1
            if len(tally.first_cut) < _NAMED_LINES:
                tally.first_cut.append(found.line)
        yield [
            found.at,
            number,
            found.line,
            found.is_zone_assumed,
            *values,
            _short(found.text, LONGEST_TEXT, found, marks.mask),
            marks.indicators_in(found),
            marks.records(found) if marks.records else (),
            is_selected(found, source),
            is_cut,
        ]


def _short(value: str, longest: int, record: Record, mask: MaskRecord) -> str:
    """Return a value; if it is too long, mask it and cut it.

    If the cut is within a word, remove this word, because it may be a part of a name.
    """
    if len(value) <= longest:
        return value
    return _LAST_WORD.sub("", mask(value, record.account)[:longest])
