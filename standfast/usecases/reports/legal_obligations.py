"""Obligations that need an action, for the pages of an incident.

An obligation is a legal or contractual duty to notify somebody. Its clock is the running deadline.

Rules
- Only obligations that need an action are listed. Missed obligations come first. Then come
  obligations that are running, or must not be fulfilled yet, by their earliest due date.
  `standfast deadline list --all` lists all obligations.
- If several obligations depend on the answer to one question, the question is shown once.
- An incident that a person only plans has no obligations, because nothing has happened.
- If a law or contract in the configuration is invalid, the page shows the error instead of the
  obligations.
"""

from collections.abc import Iterator

from standfast.deadlines.legal_clocks import Clock, ClockState
from standfast.deadlines.obligations import Kind
from standfast.errors import ConfigurationError
from standfast.records import Mode
from standfast.reports.report_records import IncidentObligations, ObligationLine
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import incident_clocks, is_open

_TO_ACT_ON = frozenset({ClockState.MISSED, ClockState.RUNNING, ClockState.HELD})


def incident_obligations(
    installation: Installation, incident_id: str, mode: Mode
) -> IncidentObligations | None:
    """Return the obligations of an incident; None if nothing is configured."""
    is_bound = installation.config.deadlines.jurisdictions or installation.config.contracts
    if mode is Mode.PLAN or not is_bound:
        return None
    try:
        clocks = incident_clocks(installation, incident_id)
    except ConfigurationError as error:
        return IncidentObligations(lines=(), questions=(), not_started=0, trouble=str(error))
    return IncidentObligations(
        lines=tuple(_lines(clocks)),
        questions=tuple(
            dict.fromkeys(
                question.text for clock in clocks if is_open(clock) for question in clock.questions
            )
        ),
        not_started=sum(clock.state is ClockState.NOT_STARTED for clock in clocks),
    )


def _lines(clocks: tuple[Clock, ...]) -> Iterator[ObligationLine]:
    for clock in clocks:
        if clock.state in _TO_ACT_ON:
            yield ObligationLine(
                to=clock.obligation.recipient_name,
                rule=clock.obligation.citation,
                state=clock.state.value,
                due=clock.due.strict if clock.due else None,
                is_earliest=clock.obligation.limit.kind is Kind.NOT_BEFORE,
            )
