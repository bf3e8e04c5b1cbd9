"""Pages of a log review: columns of charts, addresses shown, records.

A review shows the records (events) of logs that were copied and signed as evidence of an incident.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

from standfast.records import Json, JsonObject
from standfast.reports.chart_layout import PLOT_HEIGHT
from standfast.reports.console_pages import SignedInReader
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Heading

MOST_COLUMNS = 120
MOST_ADDRESSES = 15
_THINNEST = 2.0  # smallest height of a column, in pixels
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a chart, in percent of the width and pixels from the top."""

    left: float
    width: float
    top: float
    height: float
    text: str


@dataclass(frozen=True, kw_only=True)
class TimeChart:
    """Counts over time."""

    columns: tuple[Column, ...]
    first: datetime
    last: datetime
    most: int
    period: timedelta


@dataclass(frozen=True, kw_only=True)
class AddressBar:
    """The number of accounts of one address.

    The width is in percent of the widest bar.
    """

    address: str
    accounts: int
    width: float


@dataclass(frozen=True, kw_only=True)
class LogReviewReport:
    """The content of the page; values are masked except in a review in clear."""

    heading: Heading
    incident: str
    is_masked: bool
    logs: int
    records: int
    selected: int
    skipped: int  # selected records before the first row
    is_complete: bool
    has_detections: bool
    activity: TimeChart | None  # log records over time
    touched: TimeChart | None  # customer records that were used, over time
    addresses: tuple[AddressBar, ...]
    findings: Sequence[JsonObject]
    rows: Sequence[JsonObject]
    unparsed: Json
    cut: Json
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConsoleReviewReport:
    """The content of the console's page for log reviews.

    `found` is None before a review.
    """

    heading: Heading
    incident: str
    filters: Mapping[str, str]  # the fields of the form
    most_mib: int  # largest size of the logs that the console reads, in MiB
    found: LogReviewReport | None = None
    page: int = 1
    pages: Mapping[str, int] = field(default_factory=dict)  # other pages: link text and number
    reason: str = ""  # the reason that the reader gave for a review in clear
    obstacle: str = ""  # the reason why the reader may not review, or ""
    challenge: str = ""  # for a passkey that permits values in clear


def log_review_page(report: LogReviewReport) -> str:
    """Return the page as HTML."""
    clock = Clock(report.heading.time_zone)
    return render("log_review.html", clock, report=report, **_parts(report))


def console_review_page(
    report: ConsoleReviewReport, reader: SignedInReader, *, problem: str
) -> str:
    """Return the page of the console as HTML."""
    clock, parts = Clock(report.heading.time_zone), _parts(report.found)
    return render(
        "console_review.html", clock, report=report, reader=reader, problem=problem, **parts
    )


def _parts(report: LogReviewReport | None) -> dict[str, object]:
    """Return the charts and the lists of lines for the template."""
    if report is None:
        return {"height": PLOT_HEIGHT}
    return {
        "height": PLOT_HEIGHT,
        "charts": [
            ("Activity", "records", report.activity),
            ("Records of customers that were used", "different records", report.touched),
        ],
        "line_lists": [
            ("unparsed", "Lines that are not records", report.unparsed),
            ("cut", "Records that are too long to be read whole", report.cut),
        ],
    }


def time_chart(
    counts: Mapping[int, int], period: timedelta, span: Iterable[int] = ()
) -> TimeChart | None:
    """Return the chart of counts over time; None without counts.

    A key of `counts` is the number of a period since 1970. The chart also covers the periods in
    `span`.
    """
    if not counts:
        return None
    begin, end = min(chain(counts, span)), max(chain(counts, span))
    factor = (end - begin) // MOST_COLUMNS + 1
    merged: dict[int, int] = {}
    for number, count in counts.items():
        merged[(number - begin) // factor] = merged.get((number - begin) // factor, 0) + count
    total, most = (end - begin) // factor + 1, max(merged.values())
    columns = []
    for number, count in sorted(merged.items()):
        height = max(count / most * PLOT_HEIGHT, _THINNEST)
        at = _time(begin + number * factor, period)
        columns.append(
            Column(
                left=number / total * 100,
                width=100 / total * 0.85,
                top=PLOT_HEIGHT - height,
                height=height,
                text=f"{at:%Y-%m-%d %H:%M}: {count:,}",
            )
        )
    last = _time(begin + total * factor, period)
    return TimeChart(
        columns=tuple(columns),
        first=_time(begin, period),
        last=last,
        most=most,
        period=factor * period,
    )


def _time(number: int, period: timedelta) -> datetime:
    """Return the start of a period, at most the last time that can be shown."""
    return _EPOCH + min(number * period, _LAST - _EPOCH)


def address_bars(accounts: Mapping[str, int]) -> tuple[AddressBar, ...]:
    """Return the addresses with the most accounts, as bars."""
    ranked = sorted(accounts.items(), key=lambda item: (-item[1], item[0]))[:MOST_ADDRESSES]
    return tuple(
        AddressBar(address=address, accounts=count, width=count / ranked[0][1] * 100)
        for address, count in ranked
    )
