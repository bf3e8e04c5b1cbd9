"""A notice to an authority as a page: filled in as far as it is known, every gap marked.

Rules
- It is for a person to carry to the authority's own door; the page says that it was not sent.
- A gap is a box to write in, so that the printed page can be finished by hand.
"""

from datetime import datetime

from standfast.deadlines import NOT_ADVICE
from standfast.deadlines.authority_forms import Form
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Heading


def form_page(form: Form, heading: Heading, incident: str, now: datetime) -> str:
    """Give the page as one HTML file that needs nothing from outside."""
    return render(
        "form.html",
        Clock(heading.time_zone),
        report={"heading": heading},
        form=form,
        duty=form.clock.obligation,
        incident=incident,
        is_late=form.clock.due is not None and now > form.clock.due.strict,
        note=NOT_ADVICE,
    )
