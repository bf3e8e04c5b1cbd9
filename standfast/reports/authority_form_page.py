"""Page of a notice to an authority, with marked gaps.

Rules
- A person submits the notice to the authority. The page states that the program did not send it.
- A gap is a missing text. It is shown as a box to write in, so that the printed page can be
  completed by hand.
"""

from datetime import datetime

from standfast.deadlines import NOT_ADVICE
from standfast.deadlines.authority_forms import Form
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Heading


def form_page(form: Form, heading: Heading, incident: str, now: datetime) -> str:
    """Return the page as one self-contained HTML file."""
    return render(
        "form.html",
        Clock(heading.time_zone),
        report={"heading": heading},
        form=form,
        obligation=form.clock.obligation,
        incident=incident,
        is_late=form.clock.due is not None and now > form.clock.due.strict,
        note=NOT_ADVICE,
    )
