"""`standfast deadline feed`: calendar subscriptions to due dates."""

import click

from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.records import timestamp


@command(
    "feed",
    exits={
        ExitStatus.DONE: "the address is created or revoked, or the subscribers are listed",
        ExitStatus.USAGE: "the name is not valid, or has no address to revoke",
    },
    example="standfast deadline feed lee",
)
@click.argument("name", required=False, help="The subscriber; by default list the subscribers.")
@click.option("--revoke", is_flag=True, help="Revoke the address of NAME.")
@click.pass_obj
def feed(call: Call, name: str | None, revoke: bool) -> ExitStatus:
    """Create the address of a calendar subscription to the due dates.

    `standfast serve` publishes the due dates of every live incident at that address. Anybody that
    has the address can read them, so each subscriber has a separate one. A new address replaces the
    old one.
    """
    if name is None:
        return _print_subscribers(call, revoke)
    from standfast.usecases.deadlines.calendar_subscriptions import make_address, revoke_address

    with call.installation() as installation:
        if revoke:
            revoke_address(installation, name)
            return call.print_result({"revoked": name}, [f"The address of {name} is revoked."])
        path, served = make_address(installation, name), installation.config.serve
    host = f"[{served.host}]" if ":" in served.host else served.host
    address = f"http://{host}:{served.port}{path}"
    return call.print_result(
        {"subscriber": name, "path": path, "address": address},
        [
            f"Subscribe to this address in the calendar of {name}. It is not shown again:",
            f"  {address}",
            "Anybody that has the address can read the due dates.",
            (
                "If `serve` is behind a proxy, replace the host name in the address by that of "
                "the proxy."
            ),
            f"To revoke it later: `standfast deadline feed {name} --revoke`.",
        ],
    )


def _print_subscribers(call: Call, revoke: bool) -> ExitStatus:
    from standfast.usecases.deadlines.calendar_subscriptions import subscribers

    if revoke:
        raise UsageError("subscriber: none is named. `standfast deadline feed NAME --revoke`")
    with call.installation() as installation:
        found = subscribers(installation)
    rows = [[name, f"since {made_at:%Y-%m-%d}"] for name, made_at in sorted(found.items())]
    lines: list[Line] = (
        [Table(rows=rows)]
        if rows
        else ["No subscribers. Create an address: `standfast deadline feed NAME`."]
    )
    return call.print_result(
        {"subscribers": {name: timestamp(at) for name, at in sorted(found.items())}}, lines
    )
