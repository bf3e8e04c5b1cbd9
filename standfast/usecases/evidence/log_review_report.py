"""Page of a log review, and its file: content, charts, omissions.

Frozen logs are copied and signed as evidence of an incident.
"""

from datetime import timedelta
from pathlib import Path

from standfast.errors import UsageError
from standfast.evidence.review.timeline_counts import Periods
from standfast.plurals import first_names
from standfast.reports.html_page import write_page
from standfast.reports.log_review_page import (
    LogReviewReport,
    address_bars,
    log_review_page,
    time_chart,
)
from standfast.reports.report_records import Heading
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.log_review import LogReview

_MOST_NAMED = 20


def write_review_page(
    installation: Installation, incident_id: str, review: LogReview, out: Path
) -> Path:
    """Write the page of a masked review to a file; UsageError if in clear."""
    if not review.is_masked:
        raise UsageError("arguments: a page is always masked. Leave out --unmask or --html.")
    return write_page(log_review_page(review_report(installation, incident_id, review)), out)


def review_report(
    installation: Installation, incident_id: str, review: LogReview, *, skipped: int = 0
) -> LogReviewReport:
    """Return the content of the page of a review."""
    document = review.as_json()
    events, records = review.counts.events, review.counts.records
    accounts = review.counts.accounts_by_address
    altered = [log for log in review.logs if log.problem]
    return LogReviewReport(
        heading=Heading(
            organisation=installation.config.organisation.name,
            time_zone="UTC",
            written_at=installation.clock(),
        ),
        incident=incident_id,
        is_masked=review.is_masked,
        logs=len(review.logs),
        records=review.records,
        selected=review.selected,
        skipped=skipped,
        is_complete=review.is_complete,
        has_detections=review.has_detections,
        activity=time_chart(events.counts, _duration(events)),
        touched=time_chart(
            records.counts,
            _duration(records),
            events.counts if events.period == records.period else (),
        ),
        addresses=address_bars({review.mask(name): len(each) for name, each in accounts.items()}),
        findings=review.findings,
        rows=review.rows,
        unparsed=document["unparsed"],
        cut=document["cut"],
        problems=(
            *(f"{log.log.source}, {review.mask(log.log.path)}: {log.problem}" for log in altered),
            *(f"{each.folder} was not reviewed: {each.reason}" for each in review.left_out),
            *_not_applied(review),
        ),
    )


def _not_applied(review: LogReview) -> list[str]:
    if not review.not_applied:
        return []
    return [f"Indicators that were not applied: {first_names(review.not_applied, _MOST_NAMED)}"]


def _duration(periods: Periods) -> timedelta:
    return timedelta(microseconds=periods.period)
