"""`standfast notice`: what would be written to people: listed, checked, shown."""

from standfast.cli.notices import (
    correction,
    delivery_accounting,
    manual_notification,
    planned_text,
    staged_sending,
    undelivered_messages,
)
from standfast.cli.notices.preview import preview
from standfast.cli.notices.readability_check import check
from standfast.cli.parsing.command_declaration import Group, command, group
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Table
from standfast.errors import ExitStatus
from standfast.records import Json


def add_to(app: Group) -> None:
    """Add the group."""
    notice = group(app, "notice", "What is written to staff and customers.")
    command(
        notice,
        "list",
        exits={
            ExitStatus.DONE: "the notices are listed, each rendered in all its languages",
            ExitStatus.USAGE: "a notice names a value that it does not declare",
        },
        example="standfast notice list",
        needs_ledger=False,
    )(list_notices)
    command(
        notice,
        "check",
        exits={
            ExitStatus.DONE: "the notices are easy to read and say nothing that they should not",
            ExitStatus.FAILED: "one is too hard to read in a language, or says what it should not",
            ExitStatus.USAGE: "there is no such notice, or the extra `readability` is missing",
        },
        example="standfast notice check customers-data-theft",
        needs_ledger=False,
    )(check)
    command(
        notice,
        "preview",
        exits={
            ExitStatus.DONE: "the notice is shown, and nothing was sent",
            ExitStatus.FAILED: "the page cannot be written, or the audience cannot be read now",
            ExitStatus.USAGE: "there is no such notice, language, value or audience, or another "
            "file is there",
        },
        example="standfast notice preview customers-data-theft --audience customers",
    )(preview)
    planned_text.add_to(notice)
    staged_sending.add_to(notice)
    correction.add_to(notice)
    manual_notification.add_to(notice)
    undelivered_messages.add_to(notice)
    delivery_accounting.add_to(notice)


def list_notices(call: Call) -> ExitStatus:
    """List the notices: the shipped ones, and your own."""
    from standfast.notices.template_folder import read_templates

    config = call.config_if_any()
    templates = read_templates(config.notices.templates if config else None)
    document: list[Json] = [
        {
            "notice": one.name,
            "description": one.description,
            "languages": sorted(one.languages),
            "needs": sorted(one.required),
        }
        for one in templates.values()
    ]
    rows = [
        [one.name, ", ".join(sorted(one.languages)), one.description] for one in templates.values()
    ]
    call.say({"notices": document}, [Table(rows=rows)])
    return ExitStatus.DONE
