"""Legal clocks: obligations of an incident, due dates, open questions.

A legal clock is the running deadline of an obligation: a duty to notify somebody of an incident.
Dated statements of people (facts), such as the time of awareness, start a clock.
`obligations.jsonl` lists the obligations, each with its sources and the confidence in their
interpretation. `standfast.usecases` reads this file, stores facts and sends reminders.

Rules
- No function reads a file, a database or the system time: facts and the current time are arguments.
- For each obligation, two due dates are computed. A notice until the strict date is in time under
  every interpretation of the rule. The lenient date is the latest date of any interpretation. In a
  hold (`not_before`: a notice must not be sent yet), the strict date is the later one.
- An obligation with unknown facts is shown with the question that decides it. It is never omitted.
- The dates are not legal advice: `NOT_ADVICE` is shown with every date.
"""

from typing import Final

NOT_ADVICE: Final = (
    "Dates are computed from published rules and from the facts you entered. They are not legal "
    "advice: have counsel confirm what you rely on."
)
