"""`standfast init`: create an installation.

The ledger is the database of incidents, and the vault is the store of the encrypted backups.
"""

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import read_passphrase
from standfast.cli.terminal.prompts import ask, confirm, print_note
from standfast.config_file import DEFAULT_FILE
from standfast.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from standfast.usecases.setup.new_installation import NewInstallation


@command(
    "init",
    exits={
        ExitStatus.DONE: "the installation is complete, or its ledger is upgraded",
        ExitStatus.FAILED: "the disk is full; free space, then run the same command again",
        ExitStatus.USAGE: "the folder has an installation, or the source does not exist",
        ExitStatus.REFUSED: "the installation exists, and its ledger is lost",
    },
    example="standfast init /srv/standfast --source /srv/recordings",
    needs_ledger=False,
)
@click.argument("folder", type=FilePath(), metavar="DIR", help="The folder of the installation.")
@click.option(
    "--source",
    type=FilePath(),
    help="The folder or SQLite database to back up; required for a new installation.",
)
@click.option("--yes", is_flag=True, help="Use the defaults, without questions.")
@click.option("--organisation", help="The name of your organisation, as notices show it.")
@click.option("--contact-line", help="How people can reach you, as notices show it.")
@click.pass_obj
def init(
    call: Call,
    folder: Path,
    source: Path | None,
    yes: bool,
    organisation: str | None,
    contact_line: str | None,
) -> ExitStatus:
    """Create an installation: configuration, keys, ledger and vault.

    The configuration is written last. After an interruption, run the same command again to complete
    the installation. In an existing installation, the command changes only the ledger that
    ledger.url names: it creates a missing ledger, or upgrades that of an earlier release.
    """
    from standfast.config.schema import CONTACT_PLACEHOLDER, NAME_PLACEHOLDER
    from standfast.usecases.core.installation import system_clock
    from standfast.usecases.setup.new_installation import prepare_ledger, refuse_unfit, set_up

    config_file = folder / DEFAULT_FILE
    done = prepare_ledger(folder, call.env, system_clock()) if config_file.is_file() else None
    if done:
        key = "is_ledger_made" if done == "created" else "is_ledger_upgraded"
        return call.print_result(
            {"config": str(config_file), key: True},
            [
                f"The ledger that {config_file} names is {done}; nothing else was changed.",
                "",
                f"Next: standfast -c {quote(str(config_file))} check",
            ],
        )
    if source is None and not config_file.exists():
        raise UsageError(
            "source: none is given. Add --source PATH with a folder or a SQLite database to back up"
        )
    source = source or folder  # an existing installation does not use it
    refuse_unfit(folder, source)
    asks = not yes and not call.as_json and sys.stdin.isatty()
    if organisation is None:
        organisation = ask("Name of your organisation", NAME_PLACEHOLDER) if asks else None
    if contact_line is None:
        contact_line = ask("How people reach you", CONTACT_PLACEHOLDER) if asks else None
    name, line = organisation or NAME_PLACEHOLDER, contact_line or CONTACT_PLACEHOLDER
    made = set_up(folder, source, organisation=name, contact_line=line, now=system_clock())
    is_written = name != NAME_PLACEHOLDER and line != CONTACT_PLACEHOLDER
    call.print_result(made.as_json(), _lines(made, is_written=is_written))
    if asks:
        _enrol_people(call, made)
    return ExitStatus.DONE


def _lines(made: "NewInstallation", *, is_written: bool) -> list[Line]:
    offline = made.identity_file.parent
    unwritten: list[Line] = [
        "",
        "Before the first notice: set organisation.name and organisation.contact_line in",
        "standfast.toml.",
    ]
    return [
        f"Installation created in {made.config_file.parent}.",
        "",
        Table(
            rows=[
                ["configuration", str(made.config_file)],
                ["set main", f"{made.source} ({made.source_kind}), restored as {made.source_name}"],
                ["recovery identity", str(made.identity_file)],
                ["owner's key", str(made.owner_file)],
            ],
            indent=2,
        ),
        "",
        f"Copy {offline} to two USB sticks, keep them at two locations, then delete it here.",
        "A restore needs three things: the vault, the key records and the recovery identity. That",
        "folder has the key records and the identity. Without them nobody can open a backup, and",
        "with them anybody can.",
        *([] if is_written else unwritten),
        "",
        f"Next: standfast -c {quote(str(made.config_file))} backup run",
    ]


def _enrol_people(call: Call, made: "NewInstallation") -> None:
    """Offer to enrol the first people: they may approve immediately."""
    from standfast.usecases.people.enrolment import enrol_person, refuse_unfit

    here = Call(config=made.config_file, as_json=False, env=call.env)
    print_note("\nAn act that cannot be undone needs two enrolled people.")
    while confirm("Enrol a person now?"):
        person: dict[str, Any] = {
            "name": ask("Sign-in name"),
            "full_name": ask("Full name"),
            "mail": ask("Mail address"),
        }
        roles = ask("Roles, separated by commas", "duty-manager")
        person["roles"] = [role.strip() for role in roles.split(",") if role.strip()]
        try:
            with here.installation() as installation:
                refuse_unfit(installation, **person, accounts=[])
                secret = read_passphrase(here, person["name"], is_new=True)
                enrol_person(installation, **person, accounts=[], passphrase=secret)
        except UsageError as error:
            print_note(str(error))
