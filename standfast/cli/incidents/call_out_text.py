"""Line about a call-out: its state and last pages.

A call-out pages one person on call after another about a matter, such as an incident, until a
person acknowledges it.
"""

from collections.abc import Sequence

from standfast.ledger.runs.call_outs import CallOut, CallOutState, SentPage
from standfast.local_time import minute
from standfast.plurals import counted
from standfast.records import EffectState

_MAX_SHOWN_PAGES = 3
_RESULTS = {EffectState.DONE: "sent", EffectState.SUBMITTING: "being sent"}


def call_out_line(call_out: CallOut, incident: str, zone: str) -> str:
    """Return a line on the state of a call-out, and how to acknowledge it."""
    ended = minute(call_out.ended_at, zone) if call_out.ended_at else ""
    pages = counted(len(call_out.pages), "page")
    match call_out.state:
        case CallOutState.ACKNOWLEDGED:
            late = ""
            if call_out.unanswered_at:
                unanswered = minute(call_out.unanswered_at, zone)
                late = f". This was late: nobody had answered until {unanswered}"
            by = call_out.acknowledged_by
            return f"Call-out: {by} acknowledged it at {ended}, after {pages}{late}"
        case CallOutState.OVER:
            return f"Call-out: ended at {ended}, after {pages}: no person was needed any more"
        case CallOutState.UNANSWERED:
            return (
                f"Warning: nobody acknowledged the call-out: {pages}, until {ended}. To take over: "
                f"`standfast incident acknowledge {incident} --as PERSON`"
            )
        case CallOutState.OPEN:
            last = _last_pages(call_out.pages, zone) or "no page yet"
            return (
                f"Call-out: nobody has acknowledged it ({last}). To end it: "
                f"`standfast incident acknowledge {incident} --as PERSON`"
            )


def _last_pages(pages: Sequence[SentPage], zone: str) -> str:
    more = len(pages) - _MAX_SHOWN_PAGES
    shown = [
        f"{page.person} by {page.sender or 'mail'} at {minute(page.at, zone)}: "
        f"{_RESULTS.get(page.state, page.state.value)}"
        for page in pages[-_MAX_SHOWN_PAGES:]
    ]
    return "; ".join([f"{more} earlier"] * (more > 0) + shown)
