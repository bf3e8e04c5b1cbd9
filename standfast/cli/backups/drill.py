"""`standfast drill run` and `list`: output of one drill, list of drills.

A drill restores a backup to a separate folder, checks it, measures the time and destroys the data.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.backups.drill_report import write_report
from standfast.cli.backups.recovery_point_contents import identity_option
from standfast.cli.backups.transfer_progress import report_to
from standfast.cli.incidents.incident_arguments import parse_moment
from standfast.cli.parsing.commands import Group, command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table, print_error
from standfast.cli.terminal.units import format_duration, format_size
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import second
from standfast.plurals import counted
from standfast.suggestions import known_names_hint

if TYPE_CHECKING:
    from standfast.continuity.recovery_objectives import ObjectiveResult
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.drills.outcome import DrillOutcome
    from standfast.usecases.drills.service_drill import ServiceDrillOutcome
    from standfast.usecases.drills.service_prediction import ServicePrediction
    from standfast.usecases.drills.surprise_draw import Draw

_BASIS = {
    "last_change": "the last restored change",
    "consistent_at": "the time of the backup",
}
_MAX_SHOWN_LINES = 20  # shown lines of output, differences or problems; the JSON document has all


@command(
    "run",
    exits={
        ExitStatus.DONE: "everything was restored, every check passed, RTO and RPO are met",
        ExitStatus.FAILED: "a check failed; the report names it",
        ExitStatus.USAGE: "there is no such set or point, or the identity opens no domain",
        ExitStatus.PARTIAL: "RTO or RPO is missed, a file is missing, or a check or comparison "
        "could not be made",
        ExitStatus.REFUSED: "another drill of this set is running",
        ExitStatus.DAMAGED: "a file of the recovery point is damaged",
    },
    example="standfast drill run main --identity identity.txt",
)
@click.argument(
    "name",
    metavar="[SET|SERVICE]",
    required=False,
    help="A set, or a service with its dependencies; service.NAME if a set has the same name.",
)
@click.option("--all", "is_all", is_flag=True, help="Drill all services.")
@click.option(
    "--surprise",
    "is_surprise",
    is_flag=True,
    help="Drill a random service from random recovery points.",
)
@identity_option
@click.option(
    "--point",
    default="latest",
    show_default=True,
    metavar="POINT",
    help="`latest` (of any host), HOST/latest, or a name from `backup list`.",
)
@click.option(
    "--until",
    metavar="TIME",
    help="Replay the log of a base backup up to this time: 2026-03-02T14:20+01:00.",
)
@click.option(
    "--sample",
    type=click.FloatRange(min=0, max=100, min_open=True),
    metavar="PERCENT",
    help="Restore a random sample of the files; the RTO is not measured.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Repeat the random choices of an earlier drill, by its seed. Default: a random seed, "
    "which is printed.",
)
@click.option("--keep", is_flag=True, help="Keep the restored data.")
@click.option(
    "--compare", is_flag=True, help="Compare with the live source, which must not change."
)
@click.pass_obj
def run(
    call: Call,
    name: str | None,
    is_all: bool,
    is_surprise: bool,
    identity: Path | None,
    point: str,
    until: str | None,
    sample: float | None,
    seed: int | None,
    keep: bool,
    compare: bool,
) -> ExitStatus:
    """Restore to a separate folder, check, measure and destroy.

    The RTO is measured from the start of the drill until the service is usable, the RPO from the
    last restored change. The report is signed and contains the hash of the previous one.
    """
    from standfast.usecases.core.run_record import SURPRISE_SUBJECT
    from standfast.usecases.drills.file_sample import new_sample
    from standfast.usecases.drills.restore_drill import run_drill
    from standfast.usecases.drills.surprise_draw import draw_service

    is_surprise |= name == SURPRISE_SUBJECT
    name = None if name == SURPRISE_SUBJECT else name
    if seed is not None and sample is None and not is_surprise:
        raise UsageError("--seed: nothing is random. Give --sample PERCENT or --surprise as well.")
    if sample is not None and (compare or until):
        raise UsageError("--sample: it cannot be combined with --compare or --until")
    if [is_all, is_surprise, name is not None].count(True) != 1:
        raise UsageError("drill: give the name of a set or a service, or --all, or --surprise")
    with call.installation() as installation, call.progress() as show_progress:
        if name is None or name not in installation.config.backup.sets:
            if keep or compare or until or sample or point != "latest":
                raise UsageError(
                    "arguments: --point, --until, --sample, --keep and --compare need the name of "
                    "a set"
                )
            services = installation.config.services
            drawn = draw_service(services, seed) if is_surprise else None
            return _run_services(call, installation, name, identity, drawn)
        report_missing = _report_missing_programs(installation, [name])
        report = report_to(show_progress, f"restoring {name}")
        outcome = run_drill(
            *(installation, name, identity, point, "direct", report),
            keep=keep,
            compares=compare,
            until=parse_moment(until),
            sample=None if sample is None else new_sample(sample, seed),
            report_missing=report_missing,
        )
    return call.print_result(outcome.as_json(), lines_of(outcome), outcome.exit_status)


def _run_services(
    call: Call,
    installation: "Installation",
    name: str | None,
    identity: Path | None,
    drawn: "Draw | None",
) -> ExitStatus:
    from standfast.usecases.core.run_record import SERVICE_SUBJECT
    from standfast.usecases.drills.service_drill import drill_services, drilled_sets

    services = installation.config.services
    name = None if name is None else name.removeprefix(SERVICE_SUBJECT)
    if name is not None and name not in services:
        known = {**installation.config.backup.sets, **services}
        raise UsageError(f"set or service {name!r}: unknown; {known_names_hint(name, known)}")
    name = drawn.service if drawn else name
    chosen = [] if name is None else [name]
    report_missing = _report_missing_programs(installation, drilled_sets(services, chosen))
    outcome = drill_services(
        installation, chosen, identity, drawn=drawn, report_missing=report_missing
    )
    return call.print_result(outcome.as_json(), lines_of_services(outcome), outcome.exit_status)


def _report_missing_programs(
    installation: "Installation", sets: Iterable[str]
) -> Callable[[str, str], None]:
    """Report each source with databases that this machine cannot load."""
    from standfast.usecases.drills.database_load import missing_programs

    def report(source: str, reason: str) -> None:
        print_error(
            f"{source}: a drill on this machine cannot load it: {reason}. Its files are checked, "
            "its databases are not."
        )

    for source, reason in (named := missing_programs(installation.config, sets)).items():
        report(source, reason)
    # The drill calls this before the restore, for dumps of versions that need other programs.
    return lambda source, reason: None if source in named else report(source, reason)


@command(
    "list",
    exits={
        ExitStatus.DONE: "the drills are listed, and their reports are valid",
        ExitStatus.USAGE: "there is no such set",
        ExitStatus.DAMAGED: "a report is missing or was changed",
    },
    example="standfast drill list",
)
@click.option("--set", "set_name", metavar="SET", help="List one set only.")
@click.pass_obj
def list_drills(call: Call, set_name: str | None) -> ExitStatus:
    """List the drills, verify their reports, predict recovery times.

    The prediction is the median of past drills, for the size of the newest backup.
    """
    from standfast.usecases.drills.drill_history import list_drills as listed_drills

    with call.installation() as installation:
        listed = listed_drills(installation, set_name)
        zone = installation.config.organisation.time_zone
    rows = [
        [
            second(run.started_at, zone),
            run.subject,
            run.state,
            *_result_lines(run.state, run.summary),
        ]
        for run in listed.runs
    ]
    lines: list[Line] = (
        [Table(rows=rows)] if rows else ["There is no drill yet. Next: `standfast drill run SET`."]
    )
    lines += [f"{problem.where}: {problem.problem}" for problem in listed.problems]
    if listed.runs and listed.predictions:
        lines.append("Predicted time until usable:")
        lines.append(
            Table(rows=[_prediction_cells(service) for service in listed.predictions], indent=2)
        )
    if listed.elsewhere:
        lines.append(
            f"Reports of drills on {', '.join(listed.elsewhere)} are not checked here. Run "
            "`standfast drill list` there."
        )
    return call.print_result(listed.as_json(), lines, listed.exit_status)


def _prediction_cells(service: "ServicePrediction") -> list[str]:
    """Return the cells of a predicted recovery time and its RTO."""
    found, promised = service.prediction, f"RTO {format_duration(service.rto_promised_ms)}"
    if found is None:
        return [service.service, "unknown: one of its sets was never drilled", promised, ""]
    span = counted(found.drill_count, "drill")
    if found.has_range:
        shortest, longest = format_duration(found.shortest_ms), format_duration(found.longest_ms)
        span = f"{shortest} to {longest}, {span}"
    rest = "" if found.has_rest else ", without loading databases and running checks"
    expected = f"{format_duration(found.expected_ms)} ({span}){rest}"
    return [service.service, expected, promised, service.verdict]


def _result_lines(state: str, summary: Mapping[str, Any]) -> list[str]:
    """Return the cells of a drill: RTO, RPO and the problem."""
    if state == "running":
        return []
    cells = ["not measured", ""]
    if "rto_ms" in summary:
        rto = format_duration(summary["rto_ms"])
        if summary["rto_ms"] is None and state != "failed":
            rto = "not measured"
        cells = [f"RTO {rto}", f"RPO {_work_lost(summary['rpo_ms'])}"]
    return [*cells, str(summary.get("problem", ""))]


def lines_of(outcome: "DrillOutcome") -> list[Line]:
    """Return the lines on restored data, RTO, RPO, checks and next steps."""
    files = outcome.restored.files if outcome.restored else 0
    size_ = format_size(outcome.restored.bytes) if outcome.restored else "0 B"
    basis = _BASIS[outcome.rpo_basis.value]
    rto = "never usable" if outcome.has_failed else "not measured: no service check was run"
    if outcome.sample is not None:
        rto = "not measured: a sample does not prove that a service works"
    if outcome.rto_ms is not None:
        rto = f"{format_duration(outcome.rto_ms)} from the start until usable"
    rpo = f"{format_duration(outcome.rpo_ms)} of work lost, counted from {basis}"
    if outcome.rpo_ms is None:
        rpo = f"unknown: {basis} has a future date, so a clock was wrong"
    lines: list[Line] = [
        f"Drill of {outcome.set_name} from {outcome.point.name}: {outcome.state}.",
        Table(
            rows=[
                ["restored", f"{counted(files, 'file')}, {size_}"],
                *([["sample", _sample_text(outcome)]] if outcome.sample else []),
                ["RTO", rto],
                ["RPO", rpo],
            ],
            indent=2,
        ),
        Table(
            rows=[
                [check.state.value, check.service, check.name, check.reason]
                for check in outcome.checks
            ],
            indent=2,
        ),
    ]
    for check in outcome.printing:
        lines.append(f"  last output of {check.name}:")
        lines += [f"    {line}" for line in check.output.splitlines()[-_MAX_SHOWN_LINES:]]
    if outcome.comparison:
        lines += [
            f"  differs: {difference}"
            for difference in outcome.comparison.differences[:_MAX_SHOWN_LINES]
        ]
    lines += [f"  {objective_line(service)}" for service in outcome.services]
    if outcome.problem:
        lines.append(f"  {outcome.problem}")
    lines += [f"  {shortfall}" for shortfall in outcome.shortfalls]
    if outcome.problems:
        lines.append(
            Table(
                rows=[
                    [problem.path, problem.reason]
                    for problem in outcome.problems[:_MAX_SHOWN_LINES]
                ]
            )
        )
    if outcome.target.is_kept:
        lines.append(f"The restored data is kept in {outcome.target.folder}.")
    elif outcome.target.is_gone:
        lines.append("The restored data was destroyed, and the removal was checked.")
    else:
        lines.append(f"{outcome.target.folder}: NOT destroyed. Delete it by hand.")
    if outcome.output:
        lines.append(
            f"Output of the checks: {outcome.output}. It may contain personal data, and the next "
            f"drill of {outcome.set_name} deletes it."
        )
    if outcome.report:
        lines.append(f"Report: {outcome.report}")
    if outcome.damaged_packs:
        run_again = f"standfast backup run {outcome.set_name}"
        lines.append(f"Next: `{run_again}` uploads the data of the damaged packs again.")
    elif outcome.exit_status is ExitStatus.PARTIAL:
        lines.append("Next: correct the causes above, then repeat the drill.")
    elif outcome.services and outcome.exit_status is ExitStatus.DONE:
        lines.append("Next: `standfast report` writes the page for your records.")
    return lines


def _sample_text(outcome: "DrillOutcome") -> str:
    """Return the sampled share of the files, and the seed of the choice."""
    sample, details = outcome.sample, outcome.point.details
    whole = f" of {counted(details.files, 'file')}, {format_size(details.bytes)}" if details else ""
    return f"{sample.percent:g} %{whole}; seed {sample.seed}" if sample else ""


def objective_line(result: "ObjectiveResult") -> str:
    """Return whether RTO and RPO of a service were met."""
    beyond = ""
    if result.mtpd_ms is not None and result.is_beyond_mtpd:
        beyond = f", beyond the MTPD of {format_duration(result.mtpd_ms)}"
    rto = "RTO not measured"
    if result.is_checked:
        met = "met" if result.is_rto_met else "MISSED"
        actual, promised = (
            format_duration(result.rto_actual_ms),
            format_duration(result.rto_promised_ms),
        )
        rto = f"RTO {met} ({actual} of {promised}{beyond})"
    met = "met" if result.is_rpo_met else "MISSED"
    actual, promised = _work_lost(result.rpo_actual_ms), format_duration(result.rpo_promised_ms)
    return f"{result.service}: {rto}, RPO {met} ({actual} of {promised})"


def _work_lost(milliseconds: int | None) -> str:
    return "unknown" if milliseconds is None else format_duration(milliseconds)


def lines_of_services(outcome: "ServiceDrillOutcome") -> list[Line]:
    """Return the lines on order, milestones of each set, RTO and RPO."""
    lines: list[Line] = [
        f"Drill of {outcome.subject}: {outcome.state}.",
        *(
            [f"Chosen at random (seed {outcome.drawn.seed}): service {outcome.drawn.service}."]
            if outcome.drawn
            else []
        ),
        "Order of recovery: " + ", then ".join(" and ".join(wave) for wave in outcome.waves) + ".",
    ]
    for name, drill in outcome.drills.items():
        lines.append(f"Set {name} from {drill.point.name}: {drill.state}.")
        rows = [[clock, format_duration(int(str(took)))] for clock, took in drill.clocks_ms.items()]
        lines.append(Table(rows=rows, indent=2))
        failed = [check for check in drill.checks if check.state.value == "failed"]
        lines += [f"  failed: {check.name}: {check.reason}" for check in failed]
        lines += [f"  {drill.problem}"] if drill.problem else []
    lines += [f"Set {name}: not drilled: {reason}" for name, reason in outcome.problems.items()]
    lines += [objective_line(result) for result in outcome.services]
    lines.append(f"Report: {outcome.report}")
    return lines


drill = Group(
    "drill",
    help="Prove that backups can be restored: restore, check, measure, destroy.",
    commands=[run, list_drills, write_report],
)
