"""`standfast recover plan`, `open`, `status`, `report`, and their lines.

The RTO of a service is the longest acceptable time until it works again; the RPO is the longest
acceptable time between the newest restored change and the failure.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.backups.drill import objective_line
from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
)
from standfast.cli.incidents.incident_opening import (
    exercise_option,
    open_and_run_incident,
    opener_options,
)
from standfast.cli.incidents.incident_progress import print_outcome
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, no_wait_option
from standfast.cli.recovery.paper import paper_lines
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import format_duration, format_size
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json, timestamp

if TYPE_CHECKING:
    from standfast.usecases.recovery.recovery_plan import RecoveryPlan
    from standfast.usecases.recovery.recovery_status import SetStatus
    from standfast.usecases.recovery.set_plan import SetPlan

PLAYBOOK = "service-recovery"
services_argument = click.argument(
    "services", nargs=-1, metavar="SERVICE…", help="Services of the configuration."
)
all_option = click.option("--all", "everything", is_flag=True, help="Recover every service.")
point_option = click.option(
    "--point",
    default="newest",
    metavar="POINT",
    help="newest; a time with its zone, for the newest point before it; or clean, for the newest "
    "point without the indicator.",
)
indicator_option = click.option(
    "--indicator",
    metavar="INDICATOR",
    help="What a clean point must not contain, such as text:wallet-4711.",
)


def _inputs(
    services: tuple[str, ...], everything: bool, point: str, indicator: str | None
) -> dict[str, str | list[str]]:
    """Return the inputs of the playbook; UsageError if options conflict."""
    if everything is bool(services):
        raise UsageError("services: give either their names or --all")
    if (point == "clean") is (indicator is None):
        raise UsageError("arguments: --point clean and --indicator need each other. Give both")
    inputs: dict[str, str | list[str]] = {
        "services": "all" if everything else ",".join(services),
        "point": point,
    }
    return inputs if indicator is None else {**inputs, "indicators": indicator}


@command(
    "plan",
    exits={
        ExitStatus.DONE: "every set can be recovered",
        ExitStatus.USAGE: "there is no such service",
        ExitStatus.REFUSED: "a set cannot be recovered; the reason is shown",
    },
    example="standfast recover plan crm --point 2026-03-02T14:20+01:00",
)
@services_argument
@all_option
@point_option
@indicator_option
@click.pass_obj
def plan(
    call: Call, services: tuple[str, ...], everything: bool, point: str, indicator: str | None
) -> ExitStatus:
    """Show what a recovery would restore and set aside.

    The plan shows each target, the size of its present data, the name under which this data is
    kept, and the degraded modes of the services, such as paper. Nothing is changed.
    """
    from standfast.continuity.degraded_modes import mode_sentences
    from standfast.usecases.recovery.recovery_plan import plan_recovery
    from standfast.usecases.recovery.recovery_scope import named_services

    names = str(_inputs(services, everything, point, indicator)["services"])
    with call.installation() as installation:
        planned = plan_recovery(installation, names, point)
        configured = installation.config.services
        chosen = {name: configured[name] for name in named_services(installation.config, names)}
    status = ExitStatus.REFUSED if planned.refused else ExitStatus.DONE
    lines = [*_plan_lines(planned), *mode_sentences(chosen)]
    return call.print_result(planned.as_json(), lines, status)


@command(
    "open",
    exits={**PROGRESS_EXIT_STATUSES, ExitStatus.USAGE: "there is no such service"},
    example="standfast recover open crm --as dana",
)
@services_argument
@all_option
@point_option
@indicator_option
@exercise_option
@opener_options
@no_wait_option
@click.pass_obj
def open_(
    call: Call,
    services: tuple[str, ...],
    everything: bool,
    point: str,
    indicator: str | None,
    exercise: bool,
) -> ExitStatus:
    """Open a recovery: an incident that restores services.

    The command ends when a step waits for a person. Before existing data at a target is set aside,
    a second person must approve.
    """
    from standfast.usecases.recovery.recovery_scope import sets_in_order

    inputs = _inputs(services, everything, point, indicator)
    with call.installation() as installation:
        sets_in_order(installation.config, str(inputs["services"]))  # reports a typing error now
    return open_and_run_incident(call, PLAYBOOK, inputs, is_exercise=exercise)


@command("status", exits=PROGRESS_EXIT_STATUSES, example="standfast recover status inc-2026-0001")
@incident_argument
@click.pass_obj
def status(call: Call, incident: str | None) -> ExitStatus:
    """Show the milestones of each set, and RTO and RPO of each service."""
    from standfast.usecases.incidents.lifecycle import look
    from standfast.usecases.recovery.paper_list import paper_items
    from standfast.usecases.recovery.recovery_status import recovery_status

    with open_incident(call, incident) as (installation, incident_id, _):
        found = recovery_status(installation, incident_id)
        lines: list[Line] = []
        for set_status in found.sets:
            lines += _status_lines(set_status)
        lines += [objective_line(service) for service in found.services]
        items = paper_items(installation, incident_id)
        lines += paper_lines(items)
        details: dict[str, Json] = {
            "recovery": found.as_json(),
            "paper": [item.as_json() for item in items],
        }
        outcome = look(installation, incident_id)
        return print_outcome(
            call,
            installation,
            outcome,
            details,
            [*lines, ""] if lines else (),
        )


@command(
    "report",
    exits={
        ExitStatus.DONE: "the page is written",
        ExitStatus.FAILED: "the page cannot be written there",
        ExitStatus.USAGE: "the incident recovers nothing, or the file exists and is of another "
        "kind",
        ExitStatus.DAMAGED: "a report of an earlier drill or recovery is missing or was changed",
    },
    example="standfast recover report inc-2026-0001 --to recovery.html",
)
@incident_argument
@click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="The file to write; by default recovery-INCIDENT.html in this folder.",
)
@click.pass_obj
def report(call: Call, incident: str | None, to: Path | None) -> ExitStatus:
    """Sign the report of a recovery as it is now, and write its HTML page.

    The page shows the milestones, RTO and RPO, gaps (what the recovery lacked) with owner and due
    date, and the clauses of standards that the recovery supports. `standfast-verify FILE` checks
    the page on any machine.
    """
    from standfast.usecases.reports.recovery_reports import write_recovery_report

    with open_incident(call, incident) as (installation, incident_id, _):
        out = (to or Path(f"recovery-{incident_id}.html")).absolute()
        written = write_recovery_report(installation, incident_id, out)
    return call.print_result(
        written.as_json(), [f"Written: {written.page}", f"Report: {written.report}"]
    )


def _plan_lines(planned: "RecoveryPlan") -> list[Line]:
    lines: list[Line] = []
    for number, (name, set_plan) in enumerate(planned.sets.items(), 1):
        lines += [f"{number}. Set {name} of {', '.join(set_plan.services)}", *_point(set_plan)]
        rows = [
            [
                target.source,
                target.place,
                f"{format_size(target.size_bytes)}, set aside as {Path(target.later_name).name}"
                if target.has_data
                else "no data yet",
            ]
            for target in set_plan.everything
        ]
        lines.append(Table(rows=rows, indent=3))
    lines += [f"Set {name}: NOT POSSIBLE: {reason}" for name, reason in planned.refused.items()]
    lines += [
        f"Not recovered: {other}, needed by {' and '.join(names)}. Name it as well if it is lost."
        for other, names in planned.omitted.items()
    ]
    if any(set_plan.replaces for set_plan in planned.sets.values()):
        lines.append("A second person must approve before data is set aside.")
    lines.append("Nothing was changed. Next: `standfast recover open` with the same arguments.")
    return lines


def _point(set_plan: "SetPlan") -> list[Line]:
    incomplete = "" if set_plan.is_complete else ", INCOMPLETE"
    taken = (
        f"{timestamp(set_plan.point_time)[:16]}Z, {format_size(set_plan.size_bytes)}{incomplete}"
    )
    return [f"   from {set_plan.point} of {taken}: {set_plan.evidence}"]


def _status_lines(set_status: "SetStatus") -> list[Line]:
    point = f" from {set_status.plan.point}" if set_status.plan else ""
    reason = f": {set_status.reason}" if set_status.reason else ""
    lines: list[Line] = [f"Set {set_status.set_name}{point}: {set_status.state}{reason}"]
    rows = [[name, format_duration(time)] for name, time in set_status.clocks_ms.items()]
    lines += [Table(rows=rows, indent=2)] if rows else []
    lines += [f"  set aside: {path}" for path in set_status.set_aside]
    return lines
