"""Numbers of affected people on a page; names of fields are masked.

Affected people are the people whose data an incident exposed. A list of them has the names of the
exposed data fields and of the places where the people live. A person wrote these names, and they
may contain personal data. Therefore numbers and mail addresses in the names are masked.
"""

from collections import Counter
from collections.abc import Mapping

from standfast.evidence.text_masking import mask_text
from standfast.reports.report_records import AffectedLines
from standfast.usecases.core.installation import Installation
from standfast.usecases.notices.affected_people import affected_report


def affected_lines(installation: Installation, incident_id: str) -> AffectedLines | None:
    """Return the numbers of all lists; None if the incident has no list."""
    report = affected_report(installation, incident_id)
    if not report.lists:
        return None
    return AffectedLines(
        people=report.people,
        cannot_be_notified=report.cannot_be_notified,
        held=report.held,
        fields=_masked(report.fields),
        places=_masked(report.places),
        lists=tuple((listed.number, listed.digest) for listed in report.lists),
    )


def _masked(counts: Mapping[str, int]) -> Mapping[str, int]:
    masked = Counter[str]()
    for name, count in counts.items():
        masked[mask_text(name)] += count
    return masked
