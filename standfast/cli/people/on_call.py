"""`standfast on-call`: the people on call."""

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import parse_moment
from standfast.cli.parsing.commands import Group, command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ConfigurationError, ExitStatus
from standfast.local_time import minute

if TYPE_CHECKING:
    from standfast.continuity.on_call_rota import Duty

_SHOWN_PERIOD = timedelta(days=14)
_NOBODY = "nobody"


@command(
    "show",
    exits={
        ExitStatus.DONE: "the rota is shown; somebody is on duty",
        ExitStatus.USAGE: "no rota is configured, or its calendar cannot be read",
        ExitStatus.PARTIAL: "nobody is on duty",
    },
    example="standfast on-call show --at 2026-12-24T20:00+01:00",
)
@click.option("--at", metavar="TIME", help="When, as 2026-03-02T16:00+01:00; by default now.")
@click.pass_obj
def show(call: Call, at: str | None) -> ExitStatus:
    """Show the people on duty, and the changes of the next 14 days."""
    from standfast.usecases.on_call.people_on_duty import duties, time_zone

    with call.installation() as installation:
        config = installation.config
        if not config.on_call.is_used:
            raise ConfigurationError("on call: no rota is configured. Add [[on_call.shifts]].")
        since = parse_moment(at) or installation.clock()
        found = duties(config, since, since + _SHOWN_PERIOD)
        zone = time_zone(config)
        enrolled = {person.name for person in installation.ledger.people.all()}
    current, *later = found
    unknown = sorted({name for duty in found for name in duty.people} - enrolled)
    lines: list[Line] = [
        f"On duty {'now' if at is None else minute(since, zone)}: {_names(current.people)}"
        + (f", until {minute(current.end, zone)}" if later else "")
    ]
    if later:
        lines += ["", "Next:", Table(rows=_rows(later, zone), indent=2)]
    if any(not duty.people for duty in found) or unknown:
        lines.append("")
    if any(not duty.people for duty in found):
        fallback = ", ".join(config.on_call.fallback) or "nobody: set on_call.fallback"
        lines.append(f"While nobody is on duty, the fallback is paged: {fallback}")
    lines += [f"Warning: {name} is not enrolled and cannot be paged" for name in unknown]
    return call.print_result(
        {
            "at": found[0].as_json()["start"],
            "people": list(current.people),
            "duties": [duty.as_json() for duty in found],
            "not_enrolled": list(unknown),
        },
        lines,
        ExitStatus.DONE if current.people else ExitStatus.PARTIAL,
    )


def _names(people: tuple[str, ...]) -> str:
    return ", then ".join(people) or _NOBODY


def _rows(later: "Sequence[Duty]", zone: str) -> list[list[str]]:
    return [[minute(duty.start, zone), _names(duty.people)] for duty in later]


on_call = Group("on-call", help="Show the people on call.", commands=[show])
