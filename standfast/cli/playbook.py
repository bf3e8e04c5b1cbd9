"""`standfast playbook`: what there is, what it says, and whether it can be carried out here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.call import Call, command, group
from standfast.cli.output import Table
from standfast.errors import ExitStatus, PlaybookInvalid
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.config import Config
    from standfast.playbook.model import Playbook

_NO_PLAYBOOK = "there is no playbook of that name"


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    playbook = group(app, "playbook", "What can be carried out, and what each playbook says.")
    command(
        playbook,
        "list",
        exits={
            ExitStatus.DONE: "the playbooks are listed",
            ExitStatus.USAGE: "a playbook is not readable; it is named with its line",
        },
        example="standfast playbook list",
    )(list_playbooks)
    command(
        playbook,
        "show",
        exits={ExitStatus.DONE: "the playbook is shown", ExitStatus.USAGE: _NO_PLAYBOOK},
        example="standfast playbook show account-takeover",
    )(show)
    command(
        playbook,
        "check",
        exits={
            ExitStatus.DONE: "it can be carried out here",
            ExitStatus.USAGE: "steps wait for each other, or a notice does not exist; each problem "
            "has its line",
        },
        example="standfast playbook check ./my-playbook.yaml",
    )(check)


def list_playbooks(call: Call) -> ExitStatus:
    """List the playbooks: the shipped ones, and your own."""
    from standfast.operations import playbooks

    found = [playbooks.read(path) for path in playbooks.files(call.config_if_any()).values()]
    document: list[Json] = [
        {
            "playbook": one.name,
            "title": one.title,
            "version": one.version,
            "use_when": one.use_when,
            "digest": one.digest,
        }
        for one in found
    ]
    call.say({"playbooks": document}, [Table(rows=[[one.name, one.use_when] for one in found])])
    return ExitStatus.DONE


def show(call: Call, name: Annotated[str, typer.Argument(metavar="NAME|FILE")]) -> ExitStatus:
    """Show a playbook as text, ready to print."""
    from standfast.playbook.show import as_text

    playbook = _read(call.config_if_any(), name)
    text = as_text(playbook)
    call.say(
        {
            "playbook": playbook.name,
            "title": playbook.title,
            "version": playbook.version,
            "use_when": playbook.use_when,
            "inputs": [
                {
                    "name": one.name,
                    "type": one.type.value,
                    "required": one.required,
                    "description": one.description,
                }
                for one in playbook.inputs
            ],
            "steps": [
                {
                    "step": one.name,
                    "title": one.title,
                    "kind": one.kind.value,
                    "needs": list(one.needs),
                    "action": one.action,
                    "approvals": one.approval.count if one.approval else 0,
                }
                for one in playbook.steps
            ],
            "digest": playbook.digest,
            "text": text,
        },
        [text.removesuffix("\n")],
    )
    return ExitStatus.DONE


def check(call: Call, name: Annotated[str, typer.Argument(metavar="NAME|FILE")]) -> ExitStatus:
    """Check whether it can be carried out here."""
    from standfast.operations import playbooks
    from standfast.playbook.check import check as problems_of

    config = call.config_if_any()
    playbook = _read(config, name)
    if problems := problems_of(playbook, playbooks.known(config)):
        raise PlaybookInvalid(problems)
    where = "here" if config else "as far as can be known without a configuration"
    call.say(
        {"playbook": playbook.name, "is_sound": True, "digest": playbook.digest},
        [f"{playbook.name} can be carried out {where}: {len(playbook.steps)} steps."],
    )
    return ExitStatus.DONE


def _read(config: "Config | None", name: str) -> "Playbook":
    """Read a playbook by the path of its file, or by its name."""
    from standfast.errors import UsageError
    from standfast.operations import playbooks

    if name.endswith((".yaml", ".yml")) or "/" in name:
        return playbooks.read(Path(name))
    there = playbooks.files(config)
    if name not in there:
        raise UsageError(
            f"there is no playbook {name!r}; there are: {', '.join(sorted(there))}. A file is "
            "named with its ending: ./mine.yaml"
        )
    return playbooks.read(there[name])
