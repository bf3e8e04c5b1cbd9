"""`standfast notice`: what would be written to people, shown with made-up values."""

from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.call import Call, command, group
from standfast.cli.output import Line, Table
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.records import Json


def add_to(app: typer.Typer) -> None:
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
    )(list_notices)
    command(
        notice,
        "preview",
        exits={
            ExitStatus.DONE: "the notice is shown as one person would get it",
            ExitStatus.FAILED: "the file of --html cannot be written",
            ExitStatus.USAGE: "there is no notice of that name, or not in that language",
        },
        example="standfast notice preview staff-heads-up --lang es",
    )(preview)


def list_notices(call: Call) -> ExitStatus:
    """List the notices: the shipped ones, and your own."""
    from standfast.notices.folder import read_templates

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


def preview(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="TEMPLATE")],
    lang: Annotated[
        str | None,
        typer.Option(metavar="LANG", help="The reader's language.", show_default=False),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the HTML part there.", show_default=False),
    ] = None,
) -> ExitStatus:
    """Show what one person would get."""
    from standfast.notices.folder import read_templates
    from standfast.notices.render import prepare

    config = call.config_if_any()
    templates = read_templates(config.notices.templates if config else None)
    if name not in templates:
        raise UsageError(f"there is no notice {name!r}; there are: {', '.join(sorted(templates))}")
    template = templates[name]
    own = config.organisation.languages if config else ("en",)
    language = lang or next((code for code in own if code in template.languages), None)
    language = language or sorted(template.languages)[0]
    if language not in template.languages:
        raise UsageError(
            f"the notice {name!r} has no language {language!r}; it has: "
            f"{', '.join(sorted(template.languages))}"
        )
    filled = prepare(template, template.example_context()).fill(
        language, template.example_slots(), "preview", address="somebody@example.com"
    )
    if html is not None:
        try:
            html.write_text(filled.html)
        except OSError as error:
            raise StandfastError(
                f"{html} cannot be written: {error.strerror}; name another file"
            ) from None
    lines: list[Line] = [f"Subject: {filled.subject}", "", filled.text.rstrip("\n")]
    if html is not None:
        lines += ["", f"The HTML part is in {html}."]
    call.say(
        {
            "notice": name,
            "language": language,
            "subject": filled.subject,
            "text": filled.text,
            "html": filled.html,
        },
        lines,
    )
    return ExitStatus.DONE
