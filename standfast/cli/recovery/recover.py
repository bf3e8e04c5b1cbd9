"""`standfast recover`: bring services or the installation back."""

from copy import copy

from standfast.cli.incidents.closure import close
from standfast.cli.incidents.step_decisions import accept, answer, approve, retry
from standfast.cli.incidents.stop_and_resume import resume, stop
from standfast.cli.incidents.undo import undo
from standfast.cli.parsing.commands import Command, Group
from standfast.cli.recovery.installation import installation
from standfast.cli.recovery.paper import paper
from standfast.cli.recovery.service_recovery import open_, plan, report, status


def _recovery_command(command: Command, summary: str = "") -> Command:
    """Copy a command of `standfast incident`; adapt its example and help."""
    renamed = copy(command)
    renamed.example = command.example.replace("standfast incident", "standfast recover")
    if summary:
        _, _, details = (command.help or "").partition("\n\n")
        renamed.help = f"{summary}\n\n{details}"
    return renamed


recover = Group(
    "recover",
    help="Restore services to their real targets, and undo that; recover a lost installation.\n\n"
    "A recovery of services is an incident: the commands of `standfast incident` work on it too.",
    commands=[
        *(plan, open_, status, report),
        *map(_recovery_command, (approve, answer, accept, retry, stop, resume)),
        _recovery_command(undo, "Put the previous data back; keep the restored data next to it."),
        _recovery_command(close, "Close a recovery; restored data and data set aside stay."),
        *(paper, installation),
    ],
)
