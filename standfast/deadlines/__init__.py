"""Legal clocks: obligations of an incident, due dates, open questions.

A legal clock is the running deadline of an obligation: a duty to notify somebody of an incident.
Facts, such as the time of awareness, start it. `obligations.jsonl` has the data, each line with its
sources and the confidence in their reading. Reading files, storing facts and sending reminders
belong to the use-cases.

Rules
- No input, no output, no clock: facts and the current time are arguments.
- Two dates are computed. The strict date is in time by every reading of the rule, and is shown
  first. The lenient date is next to it. In a hold (a period in which a notice must not be sent,
  `not_before`), the strict date is the later of the two.
- An obligation with unknown facts is shown with the question that decides it. It is never omitted.
- The result is a list of facts, and not legal advice: `NOT_ADVICE` is shown with every date.
"""

from typing import Final

NOT_ADVICE: Final = (
    "Dates are computed from published rules and from the facts you entered. They are not legal "
    "advice: have counsel confirm what you rely on."
)
