"""Measurements of Standfast next to other tools.

`python -m benchmarks` prints the measurements as one table.

The package has the rounds, the table and the comparisons. Real servers come from `tests/servers`,
so the package runs only in a checkout with the development requirements.

Rules
- Loopback only, bounded in count and in time, in a folder of its own that is removed at the end.
- Contenders take turns in every round, and the first to go changes from round to round.
- A result is checked before its time counts: a restore is compared, every lock and every mail is
  counted. A wrong result fails its row, never the whole run.
- The row of a program that is not installed states this.
"""
