"""`standfast notice list`; the group of all notice commands."""

import click

from standfast.cli.notices.correction import correct
from standfast.cli.notices.delivery_accounting import accounting
from standfast.cli.notices.manual_notification import leave_out, list_held, posted, tell
from standfast.cli.notices.planned_text import read
from standfast.cli.notices.preview import preview
from standfast.cli.notices.readability_check import check
from standfast.cli.notices.staged_sending import go, pause, resume, status, stop
from standfast.cli.notices.undelivered_messages import reports
from standfast.cli.parsing.commands import Group, command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Table
from standfast.errors import ExitStatus
from standfast.records import Json


@command(
    "list",
    exits={
        ExitStatus.DONE: "the notices are listed; each renders in all its languages",
        ExitStatus.USAGE: "a notice uses a value that it does not declare",
    },
    example="standfast notice list",
    needs_ledger=False,
)
@click.pass_obj
def list_notices(call: Call) -> ExitStatus:
    """List all notices, those of Standfast and your own."""
    from standfast.notices.template_folder import read_templates

    config = call.config_if_any()
    templates = read_templates(config.notices.templates if config else None)
    document: list[Json] = [
        {
            "notice": template.name,
            "description": template.description,
            "languages": sorted(template.languages),
            "needs": sorted(template.required),
        }
        for template in templates.values()
    ]
    rows = [
        [template.name, ", ".join(sorted(template.languages)), template.description]
        for template in templates.values()
    ]
    return call.print_result({"notices": document}, [Table(rows=rows)])


notice = Group(
    "notice",
    help="Preview, send, stop and correct notices; show who was notified.",
    commands=[
        list_notices,
        check,
        preview,
        read,
        status,
        pause,
        resume,
        go,
        stop,
        correct,
        posted,
        list_held,
        tell,
        leave_out,
        reports,
        accounting,
    ],
)
