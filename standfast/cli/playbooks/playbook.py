"""`standfast playbook`: list, show, check, exchange and print playbooks.

A playbook is a file that describes the response to one kind of incident.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Table
from standfast.errors import ExitStatus, PlaybookInvalid, Problem
from standfast.plurals import counted
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.playbook.model import Playbook

_NO_PLAYBOOK = "there is no such playbook, or the file to write exists and is of another kind"
playbook_argument = click.argument(
    "name", metavar="NAME|FILE", help="A name from `playbook list`, or a file."
)


@command(
    "list",
    exits={
        ExitStatus.DONE: "the playbooks are listed",
        ExitStatus.USAGE: "a playbook has errors; each is shown with its line, after the list",
    },
    example="standfast playbook list",
    needs_ledger=False,
)
@click.pass_obj
def list_playbooks(call: Call) -> ExitStatus:
    """List all playbooks, those of Standfast and your own."""
    from standfast.usecases.playbooks import library

    found: dict[str, Playbook] = {}
    problems: list[Problem] = []
    for name, path in library.files(call.config_if_any()).items():
        try:
            found[name] = library.read(path)
        except PlaybookInvalid as error:  # list the valid playbooks nevertheless
            problems += error.problems
    document: list[Json] = [
        {
            "playbook": name,
            "title": playbook.title,
            "version": playbook.version,
            "use_when": playbook.use_when,
            "digest": playbook.digest,
        }
        for name, playbook in found.items()
    ]
    rows = [[name, playbook.use_when] for name, playbook in found.items()]
    if not (problems and call.as_json):
        call.print_result({"playbooks": document}, [Table(rows=rows)])
    if problems:
        raise PlaybookInvalid(problems)
    return ExitStatus.DONE


@command(
    "show",
    exits={
        ExitStatus.DONE: "the playbook is shown or drawn",
        ExitStatus.FAILED: "the drawing cannot be written there",
        ExitStatus.USAGE: _NO_PLAYBOOK,
    },
    example="standfast playbook show account-takeover --svg takeover.svg",
    needs_ledger=False,
)
@playbook_argument
@click.option(
    "--svg", type=FilePath(), metavar="FILE", help="Draw the order of the steps into this file."
)
@click.pass_obj
def show(call: Call, name: str, svg: Path | None) -> ExitStatus:
    """Show a playbook: the order of its steps, then its text.

    In the drawing, a square is an automatic step, a circle a step that a person does, a diamond a
    decision, and a clock a wait. Steps next to each other run in parallel.
    """
    from standfast.playbook.rendering.plain_text import as_text
    from standfast.playbook.rendering.text_graph import as_graph
    from standfast.usecases.playbooks import library

    playbook = library.read(library.find_file(call.config_if_any(), name))
    if svg:
        from standfast.usecases.playbooks.printed_pages import write_drawing

        out = write_drawing(playbook, svg.absolute())
        return call.print_result({"playbook": playbook.name, "svg": str(out)}, [f"Written: {out}"])
    graph, text = as_graph(playbook), as_text(playbook)
    return call.print_result(
        {
            "playbook": playbook.name,
            "title": playbook.title,
            "version": playbook.version,
            "use_when": playbook.use_when,
            "inputs": [
                {
                    "name": item.name,
                    "type": item.type.value,
                    "required": item.required,
                    "description": item.description,
                }
                for item in playbook.inputs
            ],
            "steps": [
                {
                    "step": step.name,
                    "title": step.title,
                    "kind": step.kind.value,
                    "needs": list(step.needs),
                    "action": step.action,
                    "by": list(step.by or step.roles),
                    "approvals": step.approval.count if step.approval else 0,
                }
                for step in playbook.steps
            ],
            "digest": playbook.digest,
            "graph": graph,
            "text": text,
        },
        [graph, text.removesuffix("\n")],
    )


@command(
    "check",
    exits={
        ExitStatus.DONE: "all of them can run here",
        ExitStatus.USAGE: "steps wait for each other, or a notice does not exist; each problem is "
        "shown with its line",
    },
    example="standfast playbook check ./mine.yaml ransomware",
    needs_ledger=False,
)
@click.argument(
    "names",
    nargs=-1,
    required=True,
    metavar="NAME|FILE...",
    help="Names from `playbook list`, or files.",
)
@click.pass_obj
def check(call: Call, names: tuple[str, ...]) -> ExitStatus:
    """Check whether playbooks can run in this installation.

    Every problem is shown with its line.
    """
    from standfast.usecases.playbooks.validation import check_files

    config = call.config_if_any()
    playbooks = check_files(config, names)
    where = "here" if config else "as far as is known without a configuration"
    return call.print_result(
        {
            "is_sound": True,
            "playbooks": [
                {"playbook": playbook.name, "digest": playbook.digest} for playbook in playbooks
            ],
        },
        [
            f"{playbook.name} can run {where}: {counted(len(playbook.steps), 'step')}."
            for playbook in playbooks
        ],
    )


@command(
    "import",
    exits={
        ExitStatus.DONE: "the playbook is written; manual work is listed",
        ExitStatus.FAILED: "it cannot be written there",
        ExitStatus.USAGE: "the file is not a valid CACAO playbook; each problem has its path",
        ExitStatus.PARTIAL: "it is written, but names settings that this installation lacks",
    },
    example="standfast playbook import shared.json --to shared.yaml",
    needs_ledger=False,
)
@click.argument("source", type=FilePath(), metavar="FILE.json", help="The CACAO file.")
@click.option(
    "--to", type=FilePath(), required=True, metavar="FILE.yaml", help="The playbook to write."
)
@click.pass_obj
def import_(call: Call, source: Path, to: Path) -> ExitStatus:
    """Import a CACAO v2.0 playbook.

    The commands in it are never imported. Each becomes the name of a command or request that your
    configuration must allow, and needs an approval.
    """
    from standfast.usecases.playbooks.cacao_exchange import import_cacao_playbook

    done = import_cacao_playbook(call.config_if_any(), source.absolute(), to.absolute())
    lines = [f"Written: {done.file}, {counted(len(done.playbook.steps), 'step')}."]
    lines += [f"To do: {warning}" for warning in done.warnings]
    lines += [str(problem) for problem in done.problems]
    return call.print_result(
        {
            "playbook": done.playbook.name,
            "file": str(done.file),
            "warnings": list(done.warnings),
            "problems": [str(problem) for problem in done.problems],
        },
        [*lines],
        ExitStatus.PARTIAL if done.problems else ExitStatus.DONE,
    )


@command(
    "export",
    exits={
        ExitStatus.DONE: "the CACAO file is written",
        ExitStatus.FAILED: "it cannot be written there",
        ExitStatus.USAGE: _NO_PLAYBOOK,
    },
    example="standfast playbook export ransomware --to ransomware.json",
    needs_ledger=False,
)
@playbook_argument
@click.option(
    "--to", type=FilePath(), required=True, metavar="FILE.json", help="The CACAO file to write."
)
@click.pass_obj
def export(call: Call, name: str, to: Path) -> ExitStatus:
    """Export a playbook as CACAO v2.0, for another tool or installation.

    Other tools read each step as a manual step. Standfast imports the file as the same playbook.
    """
    from standfast.usecases.core.installation import system_clock
    from standfast.usecases.playbooks.cacao_exchange import export_cacao_playbook

    playbook = export_cacao_playbook(call.config_if_any(), name, to.absolute(), system_clock())
    return call.print_result(
        {"playbook": playbook.name, "file": str(to.absolute())}, [f"Written: {to}"]
    )


@command(
    "page",
    exits={
        ExitStatus.DONE: "the pages are written",
        ExitStatus.FAILED: "a page cannot be written there",
        ExitStatus.USAGE: _NO_PLAYBOOK,
    },
    example="standfast playbook page ransomware --to on-paper",
    needs_ledger=False,
)
@click.argument(
    "names", nargs=-1, metavar="[NAME|FILE]...", help="Playbooks; by default all of them."
)
@click.option(
    "--to",
    type=FilePath(),
    default=Path(),
    show_default=True,
    metavar="FOLDER",
    help="The folder to write to.",
)
@click.pass_obj
def page(call: Call, names: tuple[str, ...], to: Path) -> ExitStatus:
    """Write playbooks as pages to print, with boxes to tick.

    Without a name, it writes all playbooks. Print the pages in advance: you need them if this
    machine fails.
    """
    from standfast.usecases.playbooks import library
    from standfast.usecases.playbooks.printed_pages import write_pages

    config = call.config_if_any()
    paths = [library.find_file(config, name) for name in names or library.files(config)]
    written = write_pages([library.read(path) for path in paths], to.absolute())
    return call.print_result(
        {"pages": [str(page) for page in written]}, [f"Written: {page}" for page in written]
    )


playbook = Group(
    "playbook",
    help="List, show, check, exchange and print playbooks.",
    commands=[list_playbooks, show, check, import_, export, page],
)
