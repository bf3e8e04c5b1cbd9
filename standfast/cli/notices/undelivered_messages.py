"""`standfast notice reports`: delivery reports of the mail relay."""

from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus
from standfast.plurals import counted


@command(
    "reports",
    exits={
        ExitStatus.DONE: "what the reports tell is in the ledger; what is none was left aside",
        ExitStatus.USAGE: "a file is not there, or a folder is no Maildir",
    },
    example="standfast notice reports bounced-1.eml bounced.mbox",
)
@click.argument(
    "path",
    nargs=-1,
    required=True,
    type=FilePath(),
    metavar="FILE...",
    help="Mails as files, an mbox, or a Maildir of the sender.",
)
@click.pass_obj
def reports(call: Call, path: tuple[Path, ...]) -> ExitStatus:
    """Import delivery reports of the sender's mailbox (DSN, RFC 3464).

    A recipient whose mail bounced or was delayed then counts as not notified. Importing a report
    again changes nothing.
    """
    from standfast.adapters.senders.smtp.delivery_reports import read_reports
    from standfast.records import DeliveryState

    with call.installation() as installation:
        now = installation.clock()
        found = read_reports(path, now)
        heard = installation.ledger.deliveries.hear(found.events, installation.actor, now)
    lines: list[Line] = [
        f"{counted(len(found.events), 'report')} read: {heard.changed} changed where a mail stands."
    ]
    if heard.settled:
        lines.append(f"{counted(heard.settled, 'mail')} in doubt: the relay had taken it on.")
    if aside := found.unread + heard.foreign:
        lines.append(f"{counted(aside, 'mail')} left aside: no report, or about no mail of ours.")
    if any(event.state is DeliveryState.BOUNCED for event in found.events):
        lines.append("`standfast notice held` names whom no mail reached: they need a letter.")
    lines.append("Next: `standfast notice accounting` says who is told, and who is not.")
    call.say(
        {
            "reports": len(found.events),
            "changed": heard.changed,
            "settled": heard.settled,
            "foreign": heard.foreign,
            "unread": found.unread,
        },
        lines,
    )
    return ExitStatus.DONE
