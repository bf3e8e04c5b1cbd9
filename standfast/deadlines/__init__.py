"""Legal clocks: the duties an incident brings, when each is due, and what is still to be found out.

Owns the rules and their data (`obligations.jsonl`, each line with its sources and how sure they
are). Leaves reading files, keeping facts and reminding people to operations.

Rules
- No input, no output, no clock of its own: facts and the time now are passed in.
- What is shown first is the strict reading, the one that nobody can call late; the lenient one
  stands beside it. For a hold (`not_before`) the strict reading is the later one.
- A duty whose facts are not known is shown with the question that decides it, never left out.
- Facts, not legal advice: `NOT_ADVICE` stands wherever a date is shown.
"""

from typing import Final

NOT_ADVICE: Final = (
    "Dates are computed from published rules and from the facts you entered. They are no legal "
    "advice: have counsel confirm what you rely on."
)
