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
        ExitStatus.DONE: "the address is made, revoked, or who has one is listed",
        ExitStatus.USAGE: "the name does not fit, or has no address to revoke",
    },
    example="standfast deadline feed lee",
)
@click.argument("name", required=False, help="Who subscribes; without it they are listed.")
@click.option("--revoke", is_flag=True, help="Let the address of NAME open nothing any more.")
@click.pass_obj
def feed(call: Call, name: str | None, revoke: bool) -> ExitStatus:
    """Create the address of a calendar subscription to the due dates.

    `standfast serve` publishes the due dates of every live incident at that address. Anybody that
    has the address can read them, so each subscriber has an own one. A new address replaces the old
    one.
    """
    if name is None:
        return _listed(call, revoke)
    from standfast.usecases.deadlines.calendar_subscriptions import make_address, revoke_address

    with call.installation() as installation:
        if revoke:
            revoke_address(installation, name)
            return call.say({"revoked": name}, [f"The address of {name} opens nothing any more."])
        path, served = make_address(installation, name), installation.config.serve
    host = f"[{served.host}]" if ":" in served.host else served.host
    address = f"http://{host}:{served.port}{path}"
    return call.say(
        {"subscriber": name, "path": path, "address": address},
        [
            f"Subscribe {name}'s calendar programme to this address. It is not shown again:",
            f"  {address}",
            "Whoever has it reads what is due. Behind a proxy, begin it with the name of that one.",
            f"Next: `standfast deadline feed {name} --revoke`, once nobody is to read it any more.",
        ],
    )


def _listed(call: Call, revoke: bool) -> ExitStatus:
    from standfast.usecases.deadlines.calendar_subscriptions import subscribers

    if revoke:
        raise UsageError("say whose address: `standfast deadline feed NAME --revoke`")
    with call.installation() as installation:
        found = subscribers(installation)
    rows = [[name, f"since {made_at:%Y-%m-%d}"] for name, made_at in sorted(found.items())]
    lines: list[Line] = (
        [Table(rows=rows)]
        if rows
        else ["Nobody subscribes: `standfast deadline feed NAME` makes an address."]
    )
    return call.say(
        {"subscribers": {name: timestamp(at) for name, at in sorted(found.items())}}, lines
    )
