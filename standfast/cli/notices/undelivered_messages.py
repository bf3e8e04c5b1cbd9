"""`standfast notice reports`: import of the mail relay's delivery reports."""

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
        ExitStatus.DONE: "the reports are in the ledger; other mail is ignored",
        ExitStatus.USAGE: "a file does not exist, or a folder is not a Maildir",
    },
    example="standfast notice reports bounced-1.eml bounced.mbox",
)
@click.argument(
    "path",
    nargs=-1,
    required=True,
    type=FilePath(),
    metavar="FILE...",
    help="Messages as files, an mbox, or a Maildir of the sender.",
)
@click.pass_obj
def reports(call: Call, path: tuple[Path, ...]) -> ExitStatus:
    """Import delivery reports from the sender's mailbox (DSN, RFC 3464).

    Afterwards, a recipient whose mail bounced or was delayed counts as not notified. Importing a
    report again changes nothing.
    """
    from standfast.adapters.senders.smtp.delivery_reports import read_reports
    from standfast.records import DeliveryState

    with call.installation() as installation:
        now = installation.clock()
        found = read_reports(path, now)
        stored = installation.ledger.deliveries.store_reports(found.events, installation.actor, now)
    changed = counted(stored.changed, "message")
    lines: list[Line] = [
        f"{counted(len(found.events), 'report')} read; the state of {changed} changed."
    ]
    if stored.settled:
        lines.append(
            f"{counted(stored.settled, 'unknown outcome')} resolved: the relay had accepted it."
        )
    if ignored := found.unread + stored.foreign:
        lines.append(f"{counted(ignored, 'message')} ignored: not a report, or not about a notice.")
    if any(event.state is DeliveryState.BOUNCED for event in found.events):
        lines.append("`standfast notice held` lists unreached recipients, which need a letter.")
    lines.append("Next: `standfast notice accounting` shows who is not notified yet.")
    document = {
        "reports": len(found.events),
        "changed": stored.changed,
        "settled": stored.settled,
        "foreign": stored.foreign,
        "unread": found.unread,
    }
    return call.print_result(document, lines)
