"""Preview page of a notice: all languages, and the first messages.

Rules
- An HTML part of a message is in a sandboxed frame, without script, form and origin. The content
  security policy of the page blocks all requests.
- The page states whether the names on it are masked, because it may be forwarded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Heading


@dataclass(frozen=True, kw_only=True)
class ShownMessage:
    """One message; without a subject, it is not sent (`notes`: the reason)."""

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
    """Return the page as one self-contained HTML file."""
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
