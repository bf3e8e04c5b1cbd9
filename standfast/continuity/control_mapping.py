"""Clauses that require tested recovery, and the statements they need.

A clause is a requirement of a standard. The statements are those in a report about a drill (test
restore) or a recovery.

Rules
- This module only assigns statements to clauses. An auditor decides whether the statements are
  sufficient. Therefore no text of this module states that a requirement is met.
- The topic of a clause is only a summary. Read the clause itself in its standard.
"""

from dataclasses import dataclass
from enum import StrEnum


class Statement(StrEnum):
    """A kind of statement in a drill or recovery report."""

    RESTORED = "restored"  # what was restored, from which recovery point
    CHECKED = "checked"  # the checks that passed, failed or were skipped
    MEASURED = "measured"  # RTO and RPO next to their objectives
    CORRECTED = "corrected"  # what recovery lacked (gaps), with owner and due date
    REPEATED = "repeated"  # this drill and the previous drill


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One clause of a standard, and the statements that support it."""

    name: str
    topic: str
    statements: tuple[Statement, ...]


CLAUSES = (
    Clause(
        name="ISO 27001:2022 A.8.13",
        topic="copies of information and software are tested",
        statements=(Statement.RESTORED, Statement.CHECKED, Statement.REPEATED),
    ),
    Clause(
        name="ISO 27001:2022 A.8.14",
        topic="facilities are redundant enough for the required availability",
        statements=(Statement.MEASURED,),
    ),
    Clause(
        name="SOC 2 A1.3",
        topic="recovery procedures are tested",
        statements=(Statement.RESTORED, Statement.MEASURED, Statement.CORRECTED),
    ),
    Clause(
        name="PCI DSS 12.10.2",
        topic="the incident response plan, with recovery and backup, is tested each year",
        statements=(Statement.RESTORED, Statement.REPEATED),
    ),
    Clause(
        name="HIPAA 164.308(a)(7)",
        topic="contingency plan: data backup, disaster recovery, testing and revision",
        statements=(Statement.RESTORED, Statement.MEASURED, Statement.CORRECTED),
    ),
    Clause(
        name="NIS2 Implementing Regulation 2024/2690 Annex 4.2.6",
        topic="recovery of backup copies is tested, documented and corrected",
        statements=(Statement.RESTORED, Statement.CHECKED, Statement.CORRECTED, Statement.REPEATED),
    ),
    Clause(
        name="DORA Art. 12",
        topic="restoration is tested, recovery objectives are set, integrity is checked",
        statements=(Statement.CHECKED, Statement.MEASURED, Statement.REPEATED),
    ),
    Clause(
        name="NIST SP 800-53 CP-4",
        topic="the contingency plan is tested, and deficiencies are corrected",
        statements=(Statement.MEASURED, Statement.CORRECTED, Statement.REPEATED),
    ),
    Clause(
        name="NIST SP 800-53 CP-9",
        topic="backups are made, and their reliability and integrity are tested",
        statements=(Statement.RESTORED, Statement.CHECKED),
    ),
)
