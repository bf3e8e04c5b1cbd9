"""One timeline of the records in frozen logs, and the marks of each.

Rules
- A log is compared with its seal when it was read to its end. If it differs, none of its records
  counts: an intruder may have written them.
- Records are ordered by time, then by log and line.
- A selection decides which records are shown. Detections see all records, because a sign-in is the
  first only among all of them.
- Lines that are not records are counted by log, and the first ones are named.
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, NamedTuple, TypeAlias

from standfast.errors import Damaged
from standfast.evidence.parsers.log_file import read_log
from standfast.evidence.parsers.log_record import Record, microseconds
from standfast.evidence.review.sorted_runs import Row, SortedRuns
from standfast.evidence.unpacked_pieces import PIECE

LONGEST_TEXT = 500  # characters of an event that are shown
_KEPT_TEXT = 800  # characters that are kept, because the masking needs whole numbers
_RUN = 100_000  # records that are sorted in memory
_NAMED_LINES = 5
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Event(NamedTuple):
    """A record on the timeline: its log, and what is known about it."""

    at: int
    log: int  # its index among the logs
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
    records: Sequence[str]  # of customers, as patterns of the configuration name them
    is_selected: bool


@dataclass(frozen=True, kw_only=True)
class Log:
    """One frozen file."""

    source: str
    path: str
    collected_at: datetime
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The records to show; an empty field selects all."""

    accounts: frozenset[str] = frozenset()  # casefolded
    networks: tuple[Network, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    sources: frozenset[str] = frozenset()
    contains: str = ""  # casefolded

    def test(self) -> Callable[[Record, str], bool]:
        """Return the predicate of a record and its source."""
        begin = microseconds(self.since) if self.since else 0
        end = microseconds(self.until) if self.until else 1 << 62
        networks: dict[str, bool] = {}

        def is_selected(record: Record, source: str) -> bool:
            if not begin <= record.at <= end or (self.sources and source not in self.sources):
                return False
            if self.accounts and record.account.casefold() not in self.accounts:
                return False
            if self.networks and not is_within(record.address):
                return False
            return not self.contains or self.contains in record.text.casefold()

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
    first_unparsed: list[int] = field(default_factory=list)  # lines; 0: the rest of a damaged file
    problem: str = ""  # why none of it counts


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The checks of each record, made while its whole text is known."""

    selection: Selection = field(default_factory=Selection)
    indicators: Callable[[Record], Sequence[str]] | None = None
    records: Callable[[Record], Sequence[str]] | None = None


def in_networks(address: str, networks: Iterable[Network]) -> bool:
    """Return whether a text is an address of any of the networks."""
    try:
        read = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(read in network for network in networks)


def collect_events(logs: Sequence[Log], marks: Marks, runs: SortedRuns) -> list[Tally]:
    """Read the logs into sorted runs; return the tally of each log."""
    tallies: list[Tally] = []
    kept: list[Row] = []
    for number, log in enumerate(logs):
        tally = Tally(log=log)
        tallies.append(tally)
        rows: list[Row] = []
        written = []
        try:
            with log.open() as stream:
                for event in _events(number, stream, tally, marks):
                    rows.append(event)
                    if len(rows) == _RUN:
                        written.append(runs.write(rows))
                        rows = []
                while stream.read(PIECE):
                    pass  # the end decides whether the log is what was sealed
        except Damaged as damage:
            tally.problem = str(damage)
            continue
        except OSError as error:
            tally.problem = f"cannot be read: {error.strerror or type(error).__name__}"
            continue
        for run in written:
            runs.keep(run)
        kept += rows
        if len(kept) >= _RUN:
            runs.keep(runs.write(kept))
            kept = []
    runs.keep(runs.write(kept))
    return tallies


def merged_events(runs: SortedRuns) -> Iterator[Event]:
    """Yield the events of all logs by time."""
    return map(Event._make, runs.merged())


def _events(number: int, stream: BinaryIO, tally: Tally, marks: Marks) -> Iterator[Row]:
    is_selected, source = marks.selection.test(), tally.log.source
    indicators, records = marks.indicators, marks.records
    for found in read_log(stream, tally.log.collected_at):
        if isinstance(found, int):
            tally.unparsed += 1
            if len(tally.first_unparsed) < _NAMED_LINES:
                tally.first_unparsed.append(found)
            continue
        tally.records += 1
        yield [
            found[0],
            number,
            *found[1:-1],
            found.text[:_KEPT_TEXT],
            indicators(found) if indicators else (),
            records(found) if records else (),
            is_selected(found, source),
        ]
