"""A notice as a page to look at: every language side by side, and what the first people would get.

Rules
- An HTML part stands in a frame that may do nothing: no script, no form, no address of its own, and
  the page's own policy lets nothing be fetched.
- The page says whether people on it are masked, since it is a file that can be passed on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Heading


@dataclass(frozen=True, kw_only=True)
class ShownMessage:
    """One message as it would arrive; without a subject it would not, and `notes` say why."""

    title: str
    language: str
    subject: str = ""
    text: str = ""
    html: str = ""
    notes: tuple[str, ...] = ()


def notice_page(
    heading: Heading,
    *,
    notice: str,
    description: str,
    warnings: Sequence[str],
    examples: Sequence[ShownMessage],
    audience: str,
    counts: Mapping[str, int],
    rows: Sequence[ShownMessage],
    is_masked: bool,
) -> str:
    """Give the page as one HTML file that needs nothing from outside."""
    return render(
        "notice.html",
        Clock(heading.time_zone),
        report={"heading": heading},
        notice=notice,
        description=description,
        warnings=warnings,
        examples=examples,
        audience=audience,
        counts=counts,
        rows=rows,
        is_masked=is_masked,
    )
