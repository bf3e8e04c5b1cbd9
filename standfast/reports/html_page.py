"""Rendering of HTML: templates, times, long lists; the main pages.

The main pages show one incident, or the whole installation with its drills (test restores).

Rules
- Jinja2 escapes every value. Only shipped files are templates, never text that people wrote.
- A missing name in a template is an error, so that no page has a gap.
- A page shows only the first entries of a long list, and the number of the other entries.
- Control characters are replaced, because browsers and printers may interpret them.
"""

import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from standfast.deadlines import NOT_ADVICE
from standfast.errors import StandfastError, UsageError
from standfast.local_time import in_zone
from standfast.plurals import counted
from standfast.records import EffectState, Proof
from standfast.reports import report_sentences
from standfast.reports.chart_layout import recovery_plots, stacked, time_axis
from standfast.reports.report_records import (
    AccountLine,
    DrillLine,
    IncidentReport,
    InstallationReport,
)

MOST_ROWS = 100
_BEGINS = len("<!doctype html>")  # characters that distinguish pages, drawings and calendars
_Row = TypeVar("_Row")


def incident_page(report: IncidentReport) -> str:
    """Return the page of one incident as HTML."""
    clock = Clock(report.heading.time_zone)
    return render("incident.html", clock, **incident_values(report, clock))


def incident_values(report: IncidentReport, clock: "Clock") -> dict[str, object]:
    """Return the values for the template of an incident's page."""
    now = report.heading.written_at
    return {
        "report": report,
        "paragraph": report_sentences.what_happened(report, clock.long(report.opened_at)),
        "axis": time_axis(report.steps, report.opened_at, now),
        "contained": report_sentences.contained_after(report),
        "accounts": Counter(_account_state(account) for account in report.accounts),
        "proven": sum(
            account.lock is EffectState.DONE and account.proof is not Proof.NONE
            for account in report.accounts
        ),
        "weakest_proof": report_sentences.weakest_proof(report),
        "step_time": lambda step: report_sentences.step_time(step, now),
        "slowest": _slowest(report.drills),
        "plots": recovery_plots(report.drills),
    }


def installation_page(report: InstallationReport) -> str:
    """Return the page of a whole installation as HTML."""
    return render(
        "place.html",
        Clock(report.heading.time_zone),
        report=report,
        answer=report_sentences.recovery_answer(report.services, report.drills),
        plots=recovery_plots(report.drills),
    )


def write_page(html: str, out: Path) -> Path:
    """Write a page atomically, readable for its owner only.

    An existing file is replaced if it is empty or begins like the new page; otherwise raise
    UsageError. A pipe or device such as /dev/stdout is not replaced: the page is written into it.
    """
    try:
        if out.exists() and not (out.is_file() or out.is_dir()):
            out.write_text(html, encoding="utf-8")
            return out
        if out.is_file() and not _is_same_kind(out, html):
            raise UsageError(f"{out}: it is another kind of file. Name a new file.")
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(html)
            Path(draft).replace(out)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StandfastError(
            f"page {out}: cannot be written: {error.strerror}. Name another location."
        ) from None
    return out


def _is_same_kind(existing: Path, text: str) -> bool:
    begins = text[:_BEGINS].encode()
    with existing.open("rb") as file:
        return file.read(len(begins)) in (b"", begins)


class Clock:
    """Formatter of moments in one time zone."""

    def __init__(self, time_zone: str) -> None:
        self.time_zone = time_zone
        self._zone = ZoneInfo(time_zone)

    def long(self, moment: datetime) -> str:
        local = in_zone(moment, self._zone)
        return f"{local.day} {local:%B %Y} at {local:%H:%M:%S} {local.tzname()}"

    def time(self, moment: datetime) -> str:
        return f"{in_zone(moment, self._zone):%H:%M:%S}"

    def day(self, moment: datetime) -> str:
        local = in_zone(moment, self._zone)
        return f"{local.day} {local:%b %Y}, {local:%H:%M}"

    def second(self, moment: datetime) -> str:
        return f"{self.day(moment)}:{in_zone(moment, self._zone):%S}"


def render(template: str, clock: Clock, **values: object) -> str:
    """Return a filled template; `values` must contain all its names."""
    return _environment(clock.time_zone).get_template(template).render(**values)


@lru_cache(maxsize=2)  # the zone of the organisation, and UTC
def _environment(time_zone: str) -> Environment:
    # The environment is cached with its compiled templates. Compiling takes 14 ms, and everybody
    # can request pages from `serve`.
    clock = Clock(time_zone)
    environment = Environment(
        loader=PackageLoader("standfast.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {
        "long": clock.long,
        "time": clock.time,
        "day": clock.day,
        "second": clock.second,
        "iso": lambda moment: moment.isoformat(timespec="seconds"),
        "duration": report_sentences.duration,
        "size": report_sentences.size,
        "counted": counted,
        "number": lambda count: f"{count:,}",
        "percent": lambda share: f"{share:.2f}%",
        "sentence": sentence,
        "counts": report_sentences.counts_words,
        "state": report_sentences.state_words,
        "step_state": report_sentences.step_state_words,
        "proof": report_sentences.proof_words,
        "first": _first_rows,
        "grouped": lambda rows: list(Counter(rows).items()),
        "left_out": lambda rows: max(len(rows) - MOST_ROWS, 0),
        "stacked": stacked,
    }
    environment.globals |= {
        "STATES": report_sentences.STATES_IN_ORDER,
        "DONE": EffectState.DONE,
        "NOT_ADVICE": NOT_ADVICE,
    }
    return environment


def sentence(text: str) -> Markup:
    """Return the text, with the parts in backticks marked as commands."""
    return Markup("").join(
        Markup("<code>{}</code>").format(_printable(part))
        if is_command
        else escape(_printable(part))
        for is_command, part in report_sentences.opened_commands(text)
    )


def _printable(value: object) -> object:
    """Replace control characters, and marks for the direction of text."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        character
        if character in "\n\t" + _JOINERS or unicodedata.category(character) not in _UNPRINTABLE
        else "\N{REPLACEMENT CHARACTER}"
        for character in value
    )


_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"  # names of some languages need them


def _first_rows(rows: Sequence[_Row]) -> Sequence[_Row]:
    return rows[:MOST_ROWS]


def _slowest(drills: Sequence[DrillLine]) -> timedelta | None:
    """Return the longest recovery time of the newest drill; None if it failed."""
    back = [measure.rto for measure in drills[0].measures if measure.is_checked] if drills else []
    known = [rto for rto in back if rto is not None]
    return max(known) if known and len(known) == len(back) else None


def _account_state(account: AccountLine) -> str:
    if account.is_restored:
        return "unlocked"
    return "locked" if account.lock is EffectState.DONE else "not locked"
