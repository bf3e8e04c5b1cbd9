"""Legal clocks: obligations of an incident, due dates, open questions.

`obligations.jsonl` has the data, each line with its sources and its confidence. Reading files,
storing facts and sending reminders belong to the use-cases.

Rules
- No input, no output, no clock: facts and the current time are arguments.
- The strict date, which is in time by every reading of the rule, is shown first, with the lenient
  date next to it. For a hold (`not_before`), the strict date is the later of the two.
- An obligation with unknown facts is not omitted: it is shown with the question that decides it.
- These are facts, not legal advice: `NOT_ADVICE` is shown with every date.
"""

from typing import Final

NOT_ADVICE: Final = (
    "Dates are computed from published rules and from the facts you entered. They are not legal "
    "advice: have counsel confirm what you rely on."
)
