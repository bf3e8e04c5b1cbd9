"""`standfast init`: create an installation."""

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.prompts import agrees, ask, tell
from standfast.config_file import DEFAULT_FILE
from standfast.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from standfast.usecases.setup.new_installation import SetUp


@command(
    "init",
    exits={
        ExitStatus.DONE: "the place is set up",
        ExitStatus.FAILED: "the disk is full; the same command goes on once there is room",
        ExitStatus.USAGE: "the folder is set up already, or the source does not exist",
        ExitStatus.REFUSED: "the ledger of a place that was set up is lost",
    },
    example="standfast init /srv/standfast --source /srv/recordings",
    needs_ledger=False,
)
@click.argument("folder", type=FilePath(), metavar="DIR")
@click.option(
    "--source",
    type=FilePath(),
    help="What is backed up: a folder, or a SQLite database. Only of a place that is set "
    "up it may be left out.",
)
@click.option("--yes", is_flag=True, help="Ask nothing; take what is usual.")
@click.option("--organisation", help="Your name, as notices say it.")
@click.option("--contact-line", help="How people reach you, by a way they know.")
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
    the installation. In an existing installation, the command only creates the ledger that
    ledger.url names, if that ledger does not exist yet.
    """
    from standfast.config.schema import CONTACT_PLACEHOLDER, NAME_PLACEHOLDER
    from standfast.usecases.core.installation import system_clock
    from standfast.usecases.setup.new_installation import make_ledger, refuse_unfit, set_up

    config_file = folder / DEFAULT_FILE
    if config_file.is_file() and make_ledger(folder, call.env, system_clock()):
        return call.say(
            {"config": str(config_file), "is_ledger_made": True},
            [
                f"The ledger that {config_file} names is made; nothing else was changed.",
                "",
                f"Next: standfast -c {quote(str(config_file))} check",
            ],
        )
    if source is None and not config_file.exists():
        raise UsageError("say what is backed up: --source PATH, a folder or a SQLite database")
    source = source or folder  # of what is set up already, nothing is asked of it
    refuse_unfit(folder, source)
    asks = not yes and not call.as_json and sys.stdin.isatty()
    if organisation is None:
        organisation = ask("Name of your organisation", NAME_PLACEHOLDER) if asks else None
    if contact_line is None:
        contact_line = ask("How people reach you", CONTACT_PLACEHOLDER) if asks else None
    name, line = organisation or NAME_PLACEHOLDER, contact_line or CONTACT_PLACEHOLDER
    made = set_up(folder, source, organisation=name, contact_line=line, now=system_clock())
    is_written = name != NAME_PLACEHOLDER and line != CONTACT_PLACEHOLDER
    call.say(made.as_json(), _lines(made, is_written=is_written))
    if asks:
        _enrol_people(call, made)
    return ExitStatus.DONE


def _lines(made: "SetUp", *, is_written: bool) -> list[Line]:
    offline = made.identity_file.parent
    unwritten: list[Line] = [
        "",
        "Before anybody can be told anything: set organisation.name and .contact_line there.",
    ]
    return [
        f"A place is set up in {made.config_file.parent}.",
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
        f"Copy {offline} onto two sticks and keep them in two places; then delete it here.",
        "A restore takes three things: the vault, the key records and the recovery identity. That",
        "folder has the last two. Without them nobody can open a backup, and whoever has the",
        "identity can.",
        *([] if is_written else unwritten),
        "",
        f"Next: standfast -c {quote(str(made.config_file))} backup run",
    ]


def _enrol_people(call: Call, made: "SetUp") -> None:
    """Offer to enrol the first people, which may approve immediately."""
    from standfast.cli.terminal.passphrase import passphrase
    from standfast.usecases.people.enrolment import enrol_person, refuse_unfit

    here = Call(config=made.config_file, as_json=False, env=call.env)
    tell("\nTwo people are needed before anything that cannot be undone.")
    while agrees("Enrol somebody now?"):
        name = ask("Sign-in name")
        full_name = ask("Full name")
        mail = ask("Mail address")
        roles = ask("Roles, with commas between", "duty-manager")
        wanted = [role.strip() for role in roles.split(",") if role.strip()]
        try:
            with here.installation() as installation:
                refuse_unfit(
                    installation,
                    name=name,
                    full_name=full_name,
                    mail=mail,
                    roles=wanted,
                    accounts=[],
                )
                enrol_person(
                    installation,
                    name=name,
                    full_name=full_name,
                    mail=mail,
                    roles=wanted,
                    accounts=[],
                    passphrase=passphrase(here, name, is_new=True),
                )
        except UsageError as error:
            tell(str(error))
