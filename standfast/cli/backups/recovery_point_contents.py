"""`standfast backup ls`, `find` and `diff`: content of recovery points.

A recovery point is the result of one backup.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.backups.restore_summary import unrecorded_lines
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table, discard_output, print_error
from standfast.cli.terminal.units import format_size
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import second
from standfast.plurals import counted

if TYPE_CHECKING:
    from backup.records import Difference

_SIGNS = {"added": "+", "removed": "-", "changed": "M"}

_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.FAILED: "the store does not respond",
    ExitStatus.USAGE: "there is no such point, set or path, or the identity opens no domain",
    ExitStatus.DAMAGED: "a manifest page of the recovery point is damaged",
}
identity_option = click.option(
    "--identity",
    type=FilePath(),
    metavar="FILE",
    help="A custodian's recovery identity. Default: the identity that drills.identity names.",
)
_set_option = click.option(
    "--set", "set_name", metavar="SET", help="Recovery points of this set only."
)
_point_argument = click.argument(
    "point", help="`latest` (--set with several sets), HOST/latest, or a name from `backup list`."
)


@command(
    "ls",
    exits={ExitStatus.DONE: "the folder is listed"} | _EXIT_STATUSES,
    example="standfast backup ls latest recordings/2026 --identity identity.txt",
)
@_point_argument
@click.argument("folder", default="", metavar="[PATH]", help="A folder; by default the sources.")
@identity_option
@_set_option
@click.pass_obj
def ls(
    call: Call, point: str, folder: str, identity: Path | None, set_name: str | None
) -> ExitStatus:
    """List a folder of a recovery point."""
    from standfast.usecases.backups import recovery_point_contents as contents

    with call.installation(needs_ledger=False) as installation:
        listing = contents.list_folder(installation, point, folder, identity, set_name)
        zone = installation.config.organisation.time_zone
    rows = [
        [
            f"{entry.mode:04o}",
            entry.user or str(entry.uid),
            second(contents.moment(entry.modified_ns), zone),
            format_size(entry.size) if entry.kind == "file" else entry.kind,
            entry.text + ("/" if entry.kind == "directory" else ""),
        ]
        for entry in listing.entries
    ]
    return call.print_result(
        listing.as_json(), [Table(rows=rows)] if rows else ["The folder is empty."]
    )


@command(
    "find",
    exits={ExitStatus.DONE: "the search is complete; it may have found nothing"} | _EXIT_STATUSES,
    example="standfast backup find 'invoice-*.pdf' --all-points --identity identity.txt",
)
@click.argument(
    "patterns",
    nargs=-1,
    required=True,
    metavar="PATTERN...",
    help="A name in any folder (*.pdf), or a path (SOURCE/**/*.pdf).",
)
@identity_option
@_set_option
@click.option(
    "--all-points",
    "in_all_points",
    is_flag=True,
    help="Search every recovery point, not only the newest of each set.",
)
@click.pass_obj
def find(
    call: Call,
    patterns: tuple[str, ...],
    identity: Path | None,
    set_name: str | None,
    in_all_points: bool,
) -> ExitStatus:
    """Find the recovery points and versions of a file."""
    from standfast.usecases.backups import recovery_point_contents as contents

    with call.installation(needs_ledger=False) as installation:
        findings = contents.find_paths(
            installation, patterns, identity, set_name, in_all_points=in_all_points
        )
        zone = installation.config.organisation.time_zone
    lines: list[Line] = []
    if findings.found:
        rows = [
            [
                file.path + ("/" if file.kind == "directory" else ""),
                format_size(file.size) if file.kind == "file" else file.kind,
                second(contents.moment(file.modified_ns), zone),
                file.points[0] + (f" and {len(file.points) - 1} more" if file.points[1:] else ""),
            ]
            for file in findings.found
        ]
        lines += [Table(rows=rows), "", "Next: `standfast backup restore POINT --to DIR PATH`."]
    else:
        lines.append(f"No path matches in {counted(len(findings.points), 'recovery point')}.")
        if not in_all_points:
            lines.append("Next: search the older recovery points as well with --all-points.")
    return call.print_result(findings.as_json(), lines)


@command(
    "diff",
    exits={ExitStatus.DONE: "the two points are compared; they may be equal"} | _EXIT_STATUSES,
    example="standfast backup diff host-1/12 latest --identity identity.txt",
)
@click.argument("before", help="The earlier point.")
@click.argument("after", help="The later point.")
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", help="Paths; by default all.")
@identity_option
@_set_option
@click.pass_obj
def diff(
    call: Call,
    before: str,
    after: str,
    patterns: tuple[str, ...],
    identity: Path | None,
    set_name: str | None,
) -> ExitStatus:
    """Compare two recovery points: + added, - removed, M changed."""
    from standfast.usecases.backups import recovery_point_contents as contents

    with call.installation(needs_ledger=False) as installation:
        compared = contents.compare_points(
            installation, before, after, identity, patterns, set_name
        )
    rows = [
        [
            _SIGNS[difference.change],
            _sizes(difference),
            difference.path,
            ", ".join(difference.aspects),
        ]
        for difference in compared.differences
    ]
    lines: list[Line] = [Table(rows=rows)] if rows else []
    totals = [
        f"{sum(difference.change == change for difference in compared.differences):,} {change}"
        for change in _SIGNS
    ]
    lines.append(f"{compared.before.name} → {compared.after.name}: {', '.join(totals)}.")
    return call.print_result(compared.as_json(), lines)


def to_standard_output(
    call: Call, point: str, patterns: Sequence[str], identity: Path | None, set_name: str | None
) -> ExitStatus:
    """Write one file of a recovery point to standard output."""
    from standfast.usecases.backups.recovery_point_contents import write_file_to

    if call.as_json:
        raise UsageError("arguments: --to - and --json both use standard output. Give one of them")
    if len(patterns) != 1:
        raise UsageError("arguments: --to - writes one file. Give its path from `backup ls`")
    if sys.__stdout__ is None:  # it was closed, and `main` opened the null device instead
        raise UsageError("standard output: it is closed. Redirect it to a file or a program")
    with call.installation(needs_ledger=False) as installation:
        why_unrecorded = write_file_to(installation, point, patterns[0], identity, _write, set_name)
    for line in unrecorded_lines(why_unrecorded):
        print_error(str(line))
    return ExitStatus.DONE


def _write(piece: bytes) -> None:
    try:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()  # a failure after the end would not be recorded with the restore
    except OSError:
        discard_output(sys.stdout)
        raise


def _sizes(difference: "Difference") -> str:
    if difference.kind != "file":
        return difference.kind
    sizes = [
        format_size(value)
        for value in (difference.size_before, difference.size_after)
        if value is not None
    ]
    return " → ".join(dict.fromkeys(sizes))
