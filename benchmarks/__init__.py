"""Measurements of Standfast next to other tools.

`python -m benchmarks` prints the measurements as one table.

The package has the rounds, the table and the comparisons. Real servers come from `tests/servers`,
so the package runs only in a checkout with the development requirements.

Rules
- A measurement uses only loopback, and has limits of count and of time. Its files are in a separate
  folder, which is removed at the end.
- The contenders (the programs that are compared) take turns in every round, and a different
  contender is first in each round.
- The time of a result is valid only if the result is right: a restore is compared, every lock and
  every mail is counted. A wrong result fails its row of the table, never the whole run.
- The row of a program that is not installed states this.
"""
