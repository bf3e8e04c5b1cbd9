"""`standfast notice preview`: a notice in the terminal or as a page."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.notices.readability_check import selected_templates
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath, parse_values
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus, UsageError
from standfast.records import JsonObject

if TYPE_CHECKING:
    from standfast.notices.template_renderer import Template
    from standfast.reports.notice_page import ShownMessage
    from standfast.usecases.notices.preview import AudienceLook

_ROWS = 3


@command(
    "preview",
    exits={
        ExitStatus.DONE: "the notice is shown; nothing was sent",
        ExitStatus.FAILED: "the page cannot be written, or the audience cannot be read",
        ExitStatus.USAGE: "there is no such notice, language, value or audience, or the file "
        "exists and is of another kind",
    },
    example="standfast notice preview customers-data-theft --audience customers",
)
@click.argument("name", metavar="TEMPLATE", help="A name from `notice list`.")
@click.option("--lang", metavar="LANG", help="The language of the recipient.")
@click.option(
    "--value",
    multiple=True,
    metavar="NAME=TEXT",
    help="A value of the notice, instead of its example; repeatable.",
)
@click.option(
    "--audience", metavar="NAME", help="Show the messages to the first recipients, masked."
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=_ROWS,
    show_default=True,
    metavar="N",
    help="The number of recipients to show.",
)
@click.option("--unmasked", is_flag=True, help="Show the messages in clear; the view is recorded.")
@click.option("--reason", help="The reason for --unmasked, without names; it is recorded.")
@click.option(
    "--html", type=FilePath(), metavar="FILE", help="Write a page with all languages side by side."
)
@click.pass_obj
def preview(
    call: Call,
    name: str,
    lang: str | None,
    value: tuple[str, ...],
    audience: str | None,
    rows: int,
    unmasked: bool,
    reason: str | None,
    html: Path | None,
) -> ExitStatus:
    """Show a notice with example values or with those of an audience."""
    from standfast.usecases.core.installation import system_clock
    from standfast.usecases.notices.preview import draft, look_at_audience, write_preview

    if unmasked and not (audience and reason and reason.strip()):
        raise UsageError("arguments: --unmasked needs --audience NAME and --reason TEXT")
    (template,) = selected_templates(call, [name]).values()
    with ExitStack() as held:
        installation = held.enter_context(call.installation()) if audience else None
        config = installation.config if installation else call.config_if_any()
        organisation = config.organisation if config else None
        drafted = draft(template, organisation, parse_values(value))
        spoken = organisation.languages if organisation else ("en",)
        language = _language(template, lang, spoken)
        example = drafted.example(language)
        look = (
            look_at_audience(
                installation,
                drafted,
                audience,
                rows=rows,
                unmasked_because=reason if unmasked else None,
            )
            if installation and audience
            else None
        )
        clock = installation.clock if installation else system_clock
        written = write_preview(drafted, look, organisation, html, now=clock()) if html else None
    warnings = [*drafted.warnings, *(look.warnings if look else ())]
    lines: list[Line] = []
    for message in look.messages if look else [example]:
        lines += _shown(message, with_title=look is not None)
    if look:
        lines.append(", ".join(f"{many:,} {label}" for label, many in look.counts.items()) + ".")
    lines += [f"Warning: {warning}." for warning in warnings]
    if written:
        lines.append(f"Written: {written}")
    return call.print_result(
        {
            "notice": name,
            **_message_json(example),
            "languages": {
                example.language: _message_json(example) for example in drafted.examples()
            },
            "warnings": warnings,
            "audience": _preview_json(look) if look else None,
            "page": str(written) if written else None,
        },
        lines,
    )


def _language(template: "Template", asked: str | None, spoken: Sequence[str]) -> str:
    from standfast.notices.prepared_notice import pick_language

    available = sorted(template.languages)
    if asked and asked not in available:
        raise UsageError(
            f"notice {template.name!r}: it has no language {asked!r}. Choose one of "
            f"{', '.join(available)}"
        )
    return asked or next(
        (language for language in spoken if language in available),
        pick_language("", available, "").language,
    )


def _shown(message: "ShownMessage", *, with_title: bool) -> list[Line]:
    lines: list[Line] = [message.title, *(f"({note})" for note in message.notes)]
    lines = [*lines, ""] if with_title else []
    if message.subject:
        lines += [f"Subject: {message.subject}", "", message.text.rstrip("\n"), ""]
    return lines


def _message_json(message: "ShownMessage") -> JsonObject:
    return {
        "language": message.language,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
    }


def _preview_json(look: "AudienceLook") -> JsonObject:
    return {
        "name": look.audience,
        "rows": look.counts,
        "by_language": look.languages,
        "is_masked": look.is_masked,
        "messages": [
            {"to": message.title, **_message_json(message), "notes": list(message.notes)}
            for message in look.messages
        ],
    }
