"""`standfast people import`, `leavers` and `factors`: the list of staff."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json
from standfast.suggestions import known_names_hint

if TYPE_CHECKING:
    from standfast.config import SecretReference
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.people.staff_lists import ListedPerson


names_option = click.option("--names", is_flag=True, help="Show names; the view is recorded.")


@command(
    "import",
    exits={
        ExitStatus.DONE: "the list is imported, or with --dry-run the changes are shown",
        ExitStatus.FAILED: "the directory does not respond",
        ExitStatus.USAGE: "a line is not valid; each is named, and nothing was changed",
        ExitStatus.REFUSED: "most people would be missing: the list may be incomplete",
    },
    example="standfast people import staff.csv --dry-run",
)
@click.argument(
    "file",
    required=False,
    type=FilePath(),
    metavar="[FILE.csv]",
    help="A CSV file with a header line.",
)
@click.option("--scim", metavar="NAME", help="Read the SCIM directory accounts.NAME instead.")
@click.option("--ldap", metavar="NAME", help="Read the LDAP directory accounts.NAME instead.")
@click.option(
    "--column",
    multiple=True,
    metavar="OURS=THEIRS",
    help="The name of a column here, and its name in the file; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--yes", is_flag=True, help="Import even if most people would be missing.")
@names_option
@click.pass_obj
def import_staff(
    call: Call,
    file: Path | None,
    scim: str | None,
    ldap: str | None,
    column: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    names: bool,
) -> ExitStatus:
    """Import the list of staff, their accounts and leaving dates.

    A CSV file has the columns key, name, mail, phone, accounts, roles and left. In a directory,
    roles (SCIM) and groups (LDAP) become roles. For each person that has left and can still sign
    in, the command plans the playbook `leaver`. Importing the same list again changes nothing.
    """
    from standfast.usecases.people import staff_access

    with call.installation() as installation:
        source, listed = _read_list(installation, file, scim, ldap, column)
        taken = staff_access.import_list(
            installation, source, listed, is_dry_run=dry_run, is_confirmed=yes
        )
        changes = taken.changes
        groups = {
            "added": changes.added,
            "changed": tuple(after for _, after in changes.changed),
            "gone": changes.gone,
            "leaving": taken.leaving,
        }
        if names:
            staff_access.record_personal_data_view(installation, sum(map(len, groups.values())))
    document: dict[str, Json] = {
        "list": source,
        "is_dry_run": dry_run,
        "unchanged": changes.unchanged,
        "planned": dict(taken.planned),
    }
    would = "would be " if dry_run else ""
    lines: list[Line] = [f"The list {source}: {counted(len(listed), 'person', 'people')}."]
    for word, members in groups.items():
        shown = [staff_access.display_name(member, is_masked=not names) for member in members]
        document[word] = {"count": len(shown), "names": [*shown]}
        if shown:
            more = f", and {len(shown) - 8} more" if len(shown) > 8 and not names else ""
            some = shown if names else shown[:8]
            lines.append(f"  {len(shown)} {would}{word}: {', '.join(some)}{more}")
    lines.append(f"  {changes.unchanged} unchanged")
    lines += [
        f"{incident}: planned, because {name} can still sign in. Lock the accounts: `standfast "
        f"incident carry-out {incident}`."
        for incident, name in taken.planned.items()
    ]
    if taken.leaving and dry_run:
        lines.append("Next: without --dry-run, an incident is planned for each of the leavers.")
    return call.print_result(document, lines)


@command(
    "leavers",
    exits={
        ExitStatus.DONE: "no leaver can sign in",
        ExitStatus.PARTIAL: "a leaver can still sign in, or a directory cannot be checked",
    },
    example="standfast people leavers --names",
)
@names_option
@click.pass_obj
def list_leavers(call: Call, names: bool) -> ExitStatus:
    """List people that have left and can still sign in.

    Every directory is queried, also for account names that are not in the list of staff.
    """
    from standfast.usecases.people import staff_access

    with call.installation() as installation:
        found = staff_access.leavers(installation)
        is_listed = bool(installation.ledger.staff.all())
        if names:
            staff_access.record_personal_data_view(installation, len(found.everybody))
    rows: list[list[str]] = []
    for leaver in found.everybody:
        entry = leaver.as_json(is_masked=not names)
        rows += [
            [
                str(entry["name"]),
                "can sign in",
                str(account),
                "" if access.is_listed else "not in the list of staff",
            ]
            for access, account in zip(leaver.still_in, _texts(entry["still_in"]), strict=True)
        ]
        rows += [
            [str(entry["name"]), "unknown", access.account.partition(":")[0], access.problem]
            for access in leaver.unclear
        ]
    document: dict[str, Json] = {
        "leavers": [leaver.as_json(is_masked=not names) for leaver in found.everybody],
        "still_in": sum(bool(leaver.still_in) for leaver in found.everybody),
        "unclear": sum(bool(leaver.unclear) for leaver in found.everybody),
        "exit_status": int(found.exit_status),
    }
    gone = len(found.everybody)
    lines: list[Line] = [
        f"{counted(gone, 'person has', 'people have')} left."
        if gone
        else "The imported lists name no leaver."
        if is_listed
        else "No list of staff is imported. Import one: `standfast people import FILE`."
    ]
    if rows:
        lines.append(Table(rows=rows, indent=2))
        lines.append(
            "Next: `standfast incident list --open` shows their plans. Check the owner of each "
            "account that is not in the list of staff: it may belong to somebody else."
        )
    elif gone:
        lines.append("None of them can sign in.")
    return call.print_result(document, lines, found.exit_status)


@command(
    "factors",
    exits={
        ExitStatus.DONE: "every account needs a second factor",
        ExitStatus.PARTIAL: "an account needs none, or a directory cannot be checked",
    },
    example="standfast people factors --names",
)
@names_option
@click.pass_obj
def list_factors(call: Call, names: bool) -> ExitStatus:
    """List accounts that need no second factor to sign in.

    Every directory is queried; privileged accounts come first if the directory names them.
    """
    from standfast.usecases.people import staff_access
    from standfast.usecases.people.second_factors import exit_status, second_factors

    with call.installation() as installation:
        everywhere = second_factors(installation)
        if names:
            without = (result.found.without for result in everywhere if result.found)
            staff_access.record_personal_data_view(installation, sum(map(len, without)))
    status, lines = exit_status(everywhere), list[Line]()
    for result in everywhere:
        lines.append(f"{result.directory}: {result.sentence}")
        if names and result.found:
            lines.append(
                Table(
                    rows=[
                        [account.name, "privileged" if account.is_privileged else ""]
                        for account in result.found.without
                    ],
                    indent=2,
                )
            )
    return call.print_result(
        {"directories": [result.as_json(is_masked=not names) for result in everywhere]},
        lines or ["No directory is configured. Add [accounts.NAME]."],
        status,
    )


def _read_list(
    installation: "Installation",
    file: Path | None,
    scim: str | None,
    ldap: str | None,
    columns: Sequence[str],
) -> "tuple[str, list[ListedPerson]]":
    from standfast.usecases.people.staff_lists import COLUMNS, read_csv, read_ldap, read_scim

    if sum(source is not None for source in (file, scim, ldap)) != 1:
        raise UsageError("list of staff: give exactly one of FILE.csv, --scim NAME, --ldap NAME")
    names: dict[str, str] = {}
    for pair in columns:
        ours, equals, theirs = pair.partition("=")
        if not equals or ours not in COLUMNS or not theirs:
            raise UsageError(
                f"--column: the form is OURS=THEIRS. OURS is one of {', '.join(COLUMNS)}"
            )
        names[ours] = theirs
    if file is not None:
        return "csv", read_csv(file, installation.config, names)
    if names:
        raise UsageError("--column: it applies to a CSV file only. Remove it")
    name = scim or ldap or ""
    if name not in installation.config.accounts:
        raise UsageError(
            f"accounts.{name}: not configured; "
            f"{known_names_hint(name, installation.config.accounts)}"
        )

    def reveal(reference: "SecretReference") -> str:
        return installation.resolver.resolve(reference).reveal()

    if scim is not None:
        return f"scim.{scim}", read_scim(scim, installation.config, reveal)
    return f"ldap.{name}", read_ldap(name, installation.config, reveal)


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
