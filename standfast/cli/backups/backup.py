"""`standfast backup`: create, list, restore and verify recovery points.

A recovery point is the result of one backup, in the vault (the store of the encrypted backups). A
pack is a file of the vault with encrypted data. The witness is a file with the newest sequence
number of each backup host at the last verification.
"""

from collections.abc import Iterable
from pathlib import Path

import click

from standfast.cli.backups import recovery_point_contents
from standfast.cli.backups.backup_summary import backup_lines
from standfast.cli.backups.recovery_point_contents import diff, find, identity_option, ls
from standfast.cli.backups.replication import card, copy
from standfast.cli.backups.restore_summary import lines_of, restore_summary_lines
from standfast.cli.backups.retention import keep
from standfast.cli.backups.transfer_progress import report_to, show_from_first_report
from standfast.cli.backups.verification_summary import verification_summary_lines
from standfast.cli.key_ceremonies.custodian import custodian
from standfast.cli.key_ceremonies.key_record_copies import keys
from standfast.cli.key_ceremonies.owner import owner
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.local_time import second
from standfast.plurals import counted
from standfast.records import Json


@command(
    "run",
    exits={
        ExitStatus.DONE: "every file of every set is in a new recovery point",
        ExitStatus.FAILED: "the store cannot be written, or no source of a set can be read",
        ExitStatus.USAGE: "there is no such set",
        ExitStatus.PARTIAL: (
            "a file could not be read, and the recovery point contains all "
            "other files; a set has no file; another host writes under this "
            "name; or the ledger could not record the backup"
        ),
        ExitStatus.REFUSED: "a backup of this set is running",
        ExitStatus.DAMAGED: "the records of the vault were changed; or the new recovery point "
        "exists, but stored data or its key record is missing",
    },
    example="standfast backup run main",
)
@click.argument("set_name", required=False, metavar="[SET]", help="A backup set; by default all.")
@click.option(
    "--distrust",
    type=FilePath(),
    metavar="REPORT.json",
    help="The output of verify --json or drill run --json on another machine: the data of the "
    "damaged packs that it names is uploaded again.",
)
@click.pass_obj
def run(call: Call, set_name: str | None, distrust: Path | None) -> ExitStatus:
    """Back up one backup set or all of them.

    Packs that a verification, a drill or a restore with the same ledger found damaged are not
    reused: their data is uploaded again if the source still contains it.
    """
    from standfast.usecases.backups.backup_run import run_backup
    from standfast.usecases.backups.damaged_packs import read_report

    documents: list[Json] = []
    lines: list[Line] = []
    statuses: list[ExitStatus] = []
    damaged = read_report(distrust)
    is_key_missing = False
    with call.installation(needs_ledger=False) as installation:
        names = list(installation.config.backup.sets) if set_name is None else [set_name]
        if not names:
            raise UsageError("backup sets: none is configured. Add [backup.sets.NAME]")
        for name in names:
            try:
                with show_from_first_report(call, f"backing up {name}") as report:
                    outcome = run_backup(installation, name, "direct", report, distrust=damaged)
            except StandfastError as error:
                if len(names) == 1:
                    raise
                statuses.append(error.exit_status)
                documents.append(
                    {"set": name, "error": str(error), "exit_status": int(error.exit_status)}
                )
                lines.append(f"{name}: failed: {error}")
                continue
            statuses.append(outcome.exit_status)
            is_key_missing |= bool(outcome.result.key_problem)
            documents.append(outcome.as_json())
            lines += backup_lines(outcome)
    status = joint_status(statuses)
    next_step = "Next: `standfast status` shows the age of each backup."
    if is_key_missing:
        next_step = "Next: restore the key record from a copy: `standfast backup keys copy FOLDER`."
    elif status is ExitStatus.DAMAGED:
        next_step = "Next: `standfast backup verify` names missing and damaged data in the vault."
    elif status is ExitStatus.PARTIAL:
        next_step = "Next: correct the causes above; the next run tries the missing files again."
    elif status is not ExitStatus.DONE:
        next_step = "Next: correct the cause above, then run this again; stored data is reused."
    return call.print_result({"backups": documents}, [*lines, "", next_step], status)


@command(
    "list",
    exits={
        ExitStatus.DONE: "the recovery points are listed; there may be none",
        ExitStatus.FAILED: "the store does not respond",
        ExitStatus.USAGE: "the identity opens no domain",
        ExitStatus.DAMAGED: "a recovery point is damaged",
    },
    example="standfast backup list --set main",
)
@click.option("--set", "set_name", metavar="SET", help="List one set only.")
@identity_option
@click.pass_obj
def list_points(call: Call, set_name: str | None, identity: Path | None) -> ExitStatus:
    """List the recovery points, newest last.

    With an identity, the list also shows the number of files.
    """
    from standfast.usecases.backups import recovery_point_contents as contents

    with call.installation(needs_ledger=False) as installation:
        listed = contents.list_points(installation, set_name, identity)
        zone = installation.config.organisation.time_zone
    rows = [
        [
            point.name,
            point.set_name,
            second(point.time, zone),
            _completeness(is_complete=point.complete, is_interim=point.is_interim),
            format_size(point.bytes_new) + " new data",
            counted(point.details.files, "file") if point.details else "",
        ]
        for point in listed.points
    ]
    lines: list[Line] = [Table(rows=rows)] if rows else []
    lines += [f"error: recovery point {name}: {why}" for name, why in listed.damaged]
    if listed.damaged:
        lines += ["", "Next: `standfast backup verify` shows the affected data."]
    lines = lines or ["There is no recovery point yet. Next: `standfast backup run`."]
    return call.print_result(listed.as_json(), lines, listed.exit_status)


@command(
    "restore",
    exits={
        ExitStatus.DONE: "everything is restored, and each hash was compared",
        ExitStatus.FAILED: "the disk is full",
        ExitStatus.USAGE: "there is no such point or set; `latest` is ambiguous; no path matches; "
        "or the identity opens no domain",
        ExitStatus.PARTIAL: "a file could not be restored exactly, a server refused a part, or the "
        "recovery point itself is incomplete",
        ExitStatus.REFUSED: "the folder is not empty, is in the vault, or is used by another "
        "restore; a path leads out of it; or a database is not empty",
        ExitStatus.DAMAGED: "a file of the point, or a newer point, is damaged; everything else is "
        "restored",
    },
    example="standfast backup restore latest --to /srv/restored --identity identity.txt",
)
@click.argument("point", help="`latest`, HOST/latest, or a name from `backup list`.")
@click.option(
    "--to",
    type=FilePath(allow_dash=True),
    metavar="DIR",
    help="A new or empty folder; the folder of an interrupted restore, which then continues "
    "(other files in the folder stay); or - to write one file to standard output.",
)
@click.argument(
    "patterns",
    nargs=-1,
    metavar="[PATTERN]...",
    help="Paths, such as SOURCE/2026/* or SOURCE/**/*.pdf; by default all.",
)
@identity_option
@click.option(
    "--set", "set_name", metavar="SET", help="The set of `latest`; needed if there are several."
)
@click.option(
    "--owner", is_flag=True, help="Also restore owners, set-id bits and capabilities (as root)."
)
@click.option(
    "--sync/--no-sync",
    "waits_for_disk",
    default=False,
    show_default=True,
    help="End only after the disk has written everything, or let it write in the background.",
)
@click.option(
    "--into",
    metavar="NAME",
    help="Restore into a database server instead: the name of its source, or a reference to its "
    "address (env:NAME, file:PATH).",
)
@click.option(
    "--replace", "replaces", is_flag=True, help="With --into: replace a database that is not empty."
)
@click.option(
    "--globals",
    "has_globals",
    is_flag=True,
    help="With --into: also restore roles and users, with their old passwords.",
)
@click.pass_obj
def restore(
    call: Call,
    point: str,
    to: Path | None,
    patterns: tuple[str, ...],
    identity: Path | None,
    set_name: str | None,
    owner: bool,
    waits_for_disk: bool,
    into: str | None,
    replaces: bool,
    has_globals: bool,
) -> ExitStatus:
    """Restore a recovery point to a folder or into a database server."""
    if (to is None) == (into is None):
        raise UsageError("target: give either --to DIR for a folder, or --into NAME for a server")
    if into is not None:
        from standfast.usecases.backups.database_restore import Request, restore_into

        request = Request(
            point=point,
            into=into,
            set_name=set_name,
            patterns=patterns,
            replaces=replaces,
            has_globals=has_globals,
        )
        with (
            call.installation(needs_ledger=False) as installation,
            call.progress() as show_progress,
        ):
            taken = restore_into(
                installation, request, identity, report_to(show_progress, f"restoring {point}")
            )
        return call.print_result(taken.as_json(), lines_of(taken), taken.exit_status)
    if to is None or replaces or has_globals:
        raise UsageError("arguments: --replace and --globals need --into. Remove them, or add it")
    if to == Path("-"):
        return recovery_point_contents.to_standard_output(call, point, patterns, identity, set_name)
    from standfast.usecases.backups import folder_restore

    try:
        with (
            call.installation(needs_ledger=False) as installation,
            show_from_first_report(call, f"restoring {point}") as report,
        ):
            outcome = folder_restore.restore(
                installation,
                point,
                to,
                identity,
                patterns,
                report,
                set_name=set_name,
                has_owner=owner,
                syncs=waits_for_disk,
            )
    except KeyboardInterrupt as error:
        error.add_note("interrupted: the same command continues the restore")
        raise
    return call.print_result(outcome.as_json(), restore_summary_lines(outcome), outcome.exit_status)


@command(
    "verify",
    exits={
        ExitStatus.DONE: "signatures, sequence numbers, sizes and the witness agree",
        ExitStatus.FAILED: "the store does not respond",
        ExitStatus.USAGE: "the identity opens no domain",
        ExitStatus.PARTIAL: "no data is damaged, but an object lock is missing, short or weak, or "
        "the ledger could not record the result",
        ExitStatus.REFUSED: "another verification is running",
        ExitStatus.DAMAGED: "a pack is missing or was changed; it is named",
    },
    example="standfast backup verify --read",
)
@click.option("--read", is_flag=True, help="Read every byte.")
@click.option(
    "--identity", type=FilePath(), metavar="FILE", help="Also decrypt and verify the content."
)
@click.option(
    "--sample",
    type=int,
    metavar="PIECES",
    help="With --identity: decrypt this number of random chunks instead of all.",
)
@click.option(
    "--confidence",
    type=float,
    metavar="SHARE",
    help="With --identity: the probability that the sample finds damage as large as --damage; "
    "by default 0.99.",
)
@click.option(
    "--damage",
    type=float,
    metavar="SHARE",
    help="The smallest damaged share of the data that the sample must find; by default 0.01.",
)
@click.pass_obj
def verify(
    call: Call,
    read: bool,
    identity: Path | None,
    sample: int | None,
    confidence: float | None,
    damage: float | None,
) -> ExitStatus:
    """Verify the vault.

    The command checks signatures, sequence numbers, packs and the witness of the last verification.
    With --read it reads every byte. With an identity it also decrypts the content, all of it or a
    sample.
    """
    from standfast.usecases.backups import verification

    chosen = verification.sample_of(sample, confidence, damage)
    with call.installation(needs_ledger=False) as installation, call.progress() as show_progress:
        outcome = verification.verify(
            installation, read, identity, report_to(show_progress, "verifying"), sample=chosen
        )
    return call.print_result(
        outcome.as_json(), verification_summary_lines(outcome), outcome.exit_status
    )


def joint_status(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Return one exit status for the backups of several sets.

    Equal statuses are returned as they are. Of different ones, DAMAGED has priority; otherwise the
    result is PARTIAL if at least one set was backed up, and FAILED if none was.
    """
    found = set(statuses)
    if len(found) <= 1:
        return next(iter(found), ExitStatus.DONE)
    if ExitStatus.DAMAGED in found:
        return ExitStatus.DAMAGED
    is_something_done = found & {ExitStatus.DONE, ExitStatus.PARTIAL}
    return ExitStatus.PARTIAL if is_something_done else ExitStatus.FAILED


def _completeness(*, is_complete: bool, is_interim: bool) -> str:
    if is_interim:
        return "interim"
    return "complete" if is_complete else "partial"


backup = Group(
    "backup",
    help="Create, list, restore, verify, copy and expire recovery points.",
    commands=[
        run,
        list_points,
        restore,
        verify,
        ls,
        find,
        diff,
        copy,
        card,
        keep,
        keys,
        owner,
        custodian,
    ],
)
