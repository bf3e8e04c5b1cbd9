"""`standfast backup`: make recovery points, list, restore and verify them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from standfast.cli.amounts import count, size, together
from standfast.cli.call import Call, command, group
from standfast.cli.output import Line, Table, Tell
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.records import Json

if TYPE_CHECKING:
    from backup.records import Progress
    from standfast.operations.backup_outcomes import BackupOutcome, RestoreOutcome, VerifyOutcome

_SHOWN = 20  # what could not be read is all in the document; a person sees the first

IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="A custodian's recovery identity; else what drills.identity names.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    backup = group(app, "backup", "Make recovery points, list, restore and verify them.")
    command(
        backup,
        "run",
        exits={
            ExitStatus.DONE: "every file of every set is in a new recovery point",
            ExitStatus.FAILED: "the store cannot be written",
            ExitStatus.USAGE: "there is no set of that name",
            ExitStatus.PARTIAL: "a file could not be read; the recovery point has all others",
            ExitStatus.REFUSED: "a backup of this set is under way",
            ExitStatus.DAMAGED: "what the vault trusts is not what was written",
        },
        example="standfast backup run main",
    )(run)
    command(
        backup,
        "list",
        exits={
            ExitStatus.DONE: "the recovery points are listed; there may be none",
            ExitStatus.FAILED: "the store does not answer",
            ExitStatus.USAGE: "the identity opens nothing here",
            ExitStatus.DAMAGED: "a recovery point is not what was written",
        },
        example="standfast backup list --set main",
    )(list_points)
    command(
        backup,
        "restore",
        exits={
            ExitStatus.DONE: "everything that was asked for is there, each hash compared",
            ExitStatus.FAILED: "the disk is full",
            ExitStatus.USAGE: "there is no such point, or the identity opens nothing here",
            ExitStatus.PARTIAL: "a file could not be written as it was; it is named",
            ExitStatus.REFUSED: "a path of the point would lead out of the folder",
            ExitStatus.DAMAGED: "a file of the point is not what was written; the others are there",
        },
        example="standfast backup restore latest --to /srv/restored --identity identity.txt",
    )(restore)
    command(
        backup,
        "verify",
        exits={
            ExitStatus.DONE: "signatures, sequence, sizes and the witness agree",
            ExitStatus.FAILED: "the store does not answer",
            ExitStatus.USAGE: "the identity opens nothing here",
            ExitStatus.REFUSED: "a verification is under way",
            ExitStatus.DAMAGED: "a pack is missing or was changed; it is named",
        },
        example="standfast backup verify --read",
    )(verify)


def run(
    call: Call,
    set_name: Annotated[
        str | None,
        typer.Argument(metavar="SET", help="One set; all without.", show_default=False),
    ] = None,
) -> ExitStatus:
    """Back a set up, or all of them."""
    from standfast.operations.backups import run_backup

    documents: list[Json] = []
    lines: list[Line] = []
    statuses: list[ExitStatus] = []
    with call.place() as place:
        names = [set_name] if set_name else list(place.config.backup.sets)
        if not names:
            raise UsageError("nothing is backed up: add [backup.sets.NAME] to the configuration")
        for name in names:
            try:
                with call.progress() as tell:
                    outcome = run_backup(place, name, "direct", _shown(tell, f"backing up {name}"))
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
            documents.append(outcome.as_json())
            lines += _backup_lines(outcome)
    status = together(statuses)
    next_step = "Next: `standfast status` shows how old each is."
    if status is not ExitStatus.DONE:
        next_step = "Next: mend what is named, then run this again; what is stored is kept."
    call.say({"backups": documents, "exit_status": int(status)}, [*lines, "", next_step])
    return status


def list_points(
    call: Call,
    set_name: Annotated[
        str | None, typer.Option("--set", metavar="SET", help="Of one set.", show_default=False)
    ] = None,
    identity: IdentityOption = None,
) -> ExitStatus:
    """List the recovery points, newest last. With an identity also what is sealed in each."""
    from standfast.operations import backups

    with call.place() as place:
        listed = backups.list_points(place, set_name, identity)
    rows = [
        [
            point.name,
            point.set_name,
            f"{point.time:%Y-%m-%d %H:%M:%S}Z",
            _completeness(is_complete=point.complete, is_interim=point.is_interim),
            size(point.bytes_new) + " new",
            count(point.details.files, "file") if point.details else "",
        ]
        for point in listed.points
    ]
    call.say(
        listed.as_json(),
        [Table(rows=rows)] if rows else ["There is no recovery point yet: `standfast backup run`."],
    )
    return listed.exit_status


def restore(
    call: Call,
    point: Annotated[
        str, typer.Argument(metavar="POINT", help="latest, or a name from `backup list`.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty or new folder.")],
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATTERN",
            help="What of it: main/2026/*, or all without.",
            show_default=False,
        ),
    ] = None,
    identity: IdentityOption = None,
    set_name: Annotated[
        str | None,
        typer.Option("--set", metavar="SET", help="The latest of this set.", show_default=False),
    ] = None,
    owner: Annotated[bool, typer.Option("--owner", help="Restore owners, too (as root).")] = False,
) -> ExitStatus:
    """Restore a point, or part of it."""
    from standfast.operations import backups

    with call.place() as place, call.progress() as tell:
        outcome = backups.restore(
            place,
            point,
            to,
            identity,
            patterns or (),
            _shown(tell, f"restoring {point}"),
            set_name=set_name,
            has_owner=owner,
        )
    call.say(outcome.as_json(), _restore_lines(outcome))
    return outcome.exit_status


def verify(
    call: Call,
    read: Annotated[bool, typer.Option("--read", help="Read every byte.")] = False,
    identity: Annotated[
        Path | None,
        typer.Option(
            "--identity",
            metavar="FILE",
            help="Open what is sealed, and check that, too.",
            show_default=False,
        ),
    ] = None,
) -> ExitStatus:
    """Check the repository.

    Signatures, sequence, packs, and the witness of the last time; with --read every byte, with an
    identity what is sealed.
    """
    from standfast.operations import backups

    with call.place() as place, call.progress() as tell:
        outcome = backups.verify(place, read, identity, _shown(tell, "verifying"))
    call.say(outcome.as_json(), _verify_lines(outcome))
    return outcome.exit_status


def _shown(tell: Tell, what: str) -> "_Report":
    return _Report(tell, what)


class _Report:
    """Shows a long call's progress in MiB."""

    def __init__(self, tell: Tell, what: str) -> None:
        self._tell, self._what = tell, what

    def __call__(self, progress: "Progress") -> None:
        self._tell(f"{self._what} (MiB)", progress.bytes_done >> 20, 0)


def _backup_lines(outcome: "BackupOutcome") -> list[Line]:
    result = outcome.result
    lines: list[Line] = []
    if outcome.died_before:
        lines.append(f"{outcome.set_name}: an earlier run had died; it is marked as failed.")
    lines.append(
        f"{outcome.set_name}: {result.point}, {count(result.files, 'file')}, "
        f"{size(result.bytes_total)}, {size(result.bytes_new)} new"
    )
    if result.unread_total:
        lines.append(f"  {count(result.unread_total, 'path')} could not be read whole:")
        lines.append(Table(rows=[[i.path, i.reason] for i in result.unread[:_SHOWN]], indent=2))
    lines += _and_more(result.unread_total)
    lines += [f"  {warning}" for warning in result.warnings]
    return lines


def _restore_lines(outcome: "RestoreOutcome") -> list[Line]:
    result = outcome.result
    lines: list[Line] = [
        f"Restored {outcome.point.name} ({outcome.point.set_name}) to {outcome.to}:",
        f"{count(result.files, 'file')}, {size(result.bytes)}, each hash compared.",
    ]
    if result.problems:
        lines += [
            f"{count(len(result.problems), 'path')} not, or not exactly:",
            Table(rows=[[one.path, one.reason] for one in result.problems[:_SHOWN]], indent=2),
            *_and_more(len(result.problems)),
        ]
    if outcome.is_damaged:
        lines.append("Next: `standfast backup verify --read` names what is damaged in the vault.")
    return lines


def _verify_lines(outcome: "VerifyOutcome") -> list[Line]:
    report = outcome.report
    depth = "every byte read" if outcome.is_read else "signatures and sizes"
    if outcome.is_keyed:
        depth += ", opened with an identity"
    lines: list[Line] = [
        f"{count(report.points, 'recovery point')}, {count(report.packs, 'pack')}: {depth}."
    ]
    for finding in outcome.findings:
        lines.append(f"{finding.severity}: {finding.object}: {finding.problem}")
        if finding.what_to_do:
            lines.append(f"  → {finding.what_to_do}")
    if outcome.exit_status is ExitStatus.DONE:
        lines.append("Everything agrees.")
    if not outcome.is_write_only:
        lines.append(f"Not write-only here: {outcome.why_write_only}.")
    if outcome.exit_status is ExitStatus.DONE and not outcome.is_read:
        lines.append("Next: `standfast backup verify --read` reads every byte.")
    return lines


def _and_more(total: int) -> list[Line]:
    return [f"  … and {total - _SHOWN:,} more; --json has them"] if total > _SHOWN else []


def _completeness(*, is_complete: bool, is_interim: bool) -> str:
    if is_interim:
        return "interim"
    return "complete" if is_complete else "partial"
