"""`standfast check`: test every part, count what delays containment.

Containment stops an intruder, for example by the lock of accounts.
"""

from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.health.check_results import Report

# An error in one of these parts, or its absence, delays the lock of an account, or an approval.
_CONTAINMENT = frozenset({"accounts", "people", "roles", "playbooks"})


@command(
    "check",
    exits={
        ExitStatus.DONE: "every part works; there may be warnings",
        ExitStatus.USAGE: "a directory does not respond, or the configuration is not valid",
        ExitStatus.DAMAGED: "the audit chain of the ledger is broken",
    },
    example="standfast check -c /srv/standfast/standfast.toml",
    needs_ledger=False,
)
@click.pass_obj
def check(call: Call) -> ExitStatus:
    """Test every part of the installation and show what to fix.

    A part that does not work is a failure. A part that is not configured, and a risk that you may
    accept, are warnings. Nothing is sent, locked, collected or backed up.
    """
    from standfast.usecases.health.check_results import Verdict
    from standfast.usecases.health.installation_check import check_installation

    with call.progress() as show_progress:
        report = check_installation(
            call.config_file,
            env=call.env,
            progress=lambda done, total: show_progress("trying each part", done, total),
        )
    rows: list[list[str]] = []
    for check in report.checks:
        rows.append([check.verdict.value, check.part, check.found])
        if check.what_to_do:
            rows.append(["", "", f"→ {check.what_to_do}"])
    failed, warned = report.count(Verdict.FAIL), report.count(Verdict.WARN)
    lines: list[Line] = [Table(rows=rows), "", _summary(report), _next_step(failed, warned)]
    return call.print_result({**report.as_json()}, lines, report.exit_status)


def _summary(report: "Report") -> str:
    """Return the number of errors and warnings, and those about containment."""
    from standfast.usecases.health.check_results import Verdict

    found = [check for check in report.checks if check.verdict is not Verdict.OK]
    parts = [check.part for check in found if check.part in _CONTAINMENT]
    about = ", ".join(sorted(set(parts)))
    counts = (
        f"{counted(report.count(Verdict.FAIL), 'error')}, "
        f"{counted(report.count(Verdict.WARN), 'warning')}"
    )
    return (
        f"{counts}; {len(parts)} of them ({about}) affect containment." if parts else f"{counts}."
    )


def _next_step(failed: int, warned: int) -> str:
    if failed:
        return "Next: fix the first failure, then run `standfast check` again."
    if warned:
        return "Next: do what follows each arrow, or accept the warning."
    return "Nothing to do now."
