"""`standfast check`: try every part of the place."""

from standfast.cli.call import Call
from standfast.cli.declared import Group, command
from standfast.cli.output import Line, Table
from standfast.errors import ExitStatus


def add_to(app: Group) -> None:
    """Add the command."""
    command(
        app,
        "check",
        exits={
            ExitStatus.DONE: "every part would work tonight; there may be warnings",
            ExitStatus.USAGE: "a directory does not answer, or the configuration does not load",
            ExitStatus.DAMAGED: "an event of the ledger does not follow the one before",
        },
        example="standfast check -c /srv/standfast/standfast.toml",
        needs_ledger=False,
    )(check)


def check(call: Call) -> ExitStatus:
    """Try every part of a place; say what to mend.

    What would not work tonight fails; a risk that one may take is a warning. Nothing is sent,
    locked, frozen or backed up.
    """
    from standfast.operations.checks import check_place
    from standfast.operations.verdicts import Verdict

    with call.progress() as tell:
        report = check_place(
            call.config_file,
            env=call.env,
            progress=lambda done, total: tell("trying each part", done, total),
        )
    rows: list[list[str]] = []
    for one in report.checks:
        rows.append([one.verdict.value, one.part, one.found])
        if one.what_to_do:
            rows.append(["", "", f"→ {one.what_to_do}"])
    failed, warned = report.count(Verdict.FAIL), report.count(Verdict.WARN)
    lines: list[Line] = [
        Table(rows=rows),
        "",
        f"{report.count(Verdict.OK)} ok, {warned} to know, {failed} to mend.",
        _next_step(failed, warned),
    ]
    call.say({**report.as_json(), "exit_status": int(report.exit_status)}, lines)
    return report.exit_status


def _next_step(failed: int, warned: int) -> str:
    if failed:
        return "Next: mend the first line that says fail; then run this again."
    if warned:
        return "Next: read what is to know, and decide which of it you accept."
    return "Nothing to do now."
