"""`standfast readiness`: could we respond to a breach tonight?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus

if TYPE_CHECKING:
    from standfast.usecases.health.checklist import ChecklistRow

_GAINS_SHOWN = 5
_BLOCKS = "▁▂▃▄▅▆▇█"
_DAYS = 60  # days of the trend, which is one line


@command(
    "readiness",
    exits={
        ExitStatus.DONE: "yes; there may be risks",
        ExitStatus.FAILED: "the page cannot be written, or the ledger does not respond",
        ExitStatus.USAGE: "there is no configuration, or its ledger does not exist",
        ExitStatus.PARTIAL: "parts would fail or are not configured; each has an action",
        ExitStatus.DAMAGED: "the audit chain of the ledger is broken",
    },
    example="standfast readiness --to readiness.html",
)
@click.option(
    "--to", type=FilePath(), metavar="FILE", help="Also write the answer as an HTML page."
)
@click.pass_obj
def readiness(call: Call, to: Path | None) -> ExitStatus:
    """Report whether the organisation could respond to a breach now.

    The report covers the tests of `standfast check`, and facts that change with time: the age of
    recovery points and drills, playbooks that nobody tried for a year, leavers that can still sign
    in, accounts without a second factor, and unmasked card numbers in recent log lines. The
    checklist distinguishes measured points from attested ones. The score is recorded for the trend.
    Nothing is sent, locked, collected or backed up.
    """
    from standfast.usecases.health import readiness as operation
    from standfast.usecases.health.check_results import Verdict
    from standfast.usecases.health.installation_check import check_installation
    from standfast.usecases.health.readiness_score import total
    from standfast.usecases.health.readiness_trend import record_score

    with call.installation() as installation:
        with call.progress() as show_progress:
            tried = check_installation(
                call.config_file,
                env=call.env,
                progress=lambda done, total: show_progress("trying each part", done, total),
            )
            seen = operation.readiness(installation, tried)
        unrecorded = record_score(installation, seen.score)
        out = operation.write_readiness_page(installation, seen, to.absolute()) if to else None
    lines: list[Line] = [f"Could we respond to a breach tonight? {seen.answer}", ""]
    for question, parts in seen.by_question.items():
        if not parts:
            continue
        problems = [part for part in parts if part.verdict is not Verdict.OK]
        lines.append(question if problems else f"{question} Yes.")
        rows: list[list[str]] = []
        for problem in problems:
            rows.append([f"  {problem.verdict.value}", problem.part, problem.found])
            if problem.what_to_do:
                rows.append(["", "", f"→ {problem.what_to_do}"])
        lines += [Table(rows=rows)] if rows else []
    lines += ["Checklist", Table(rows=[row for point in seen.checklist for row in _rows(point)])]
    score = seen.score
    lines += [
        f"Score: {total(score)} of 100. The rows that can add the most points:",
        Table(
            rows=[
                [f"  +{row.gain}", f"of {row.weight}", row.name, row.state]
                for row in score[:_GAINS_SHOWN]
                if row.gain
            ]
        ),
    ]
    if len(seen.trend) > 1:
        shown = seen.trend[-_DAYS:]
        plot = "".join(_BLOCKS[then.score * len(_BLOCKS) // 101] for then in shown)
        lines.append(f"Trend: {plot}  (from {shown[0].score} on {shown[0].day})")
        rows = [[f"  {points:+}", row] for row, points in seen.changes.items()]
        lines += [f"Changes since {seen.trend[-2].day}:", Table(rows=rows)] if rows else []
    lines += [f"The score was not recorded: {unrecorded}"] if unrecorded else []
    lines += [f"Written: {out}"] if out else []
    lines += ["", f"Next: {seen.next_step}"]
    document = {**seen.as_json(), "unrecorded": unrecorded, "page": str(out) if out else None}
    return call.print_result(document, lines, seen.exit_status)


def _rows(point: "ChecklistRow") -> list[list[str]]:
    """Return the table rows of one point of the checklist for auditors."""
    found = f"measured: {point.measured}; attested: {point.attested}"
    rows = [[f"  {point.state.value}", point.point, found]]
    return [*rows, ["", "", f"→ {point.what_to_do}"]] if point.what_to_do else rows
