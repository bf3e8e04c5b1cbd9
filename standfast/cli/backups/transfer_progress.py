"""Progress of a backup, a restore or a verification, in MiB."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import ShowProgress

if TYPE_CHECKING:
    from backup.records import Progress


def report_to(show_progress: ShowProgress, activity: str) -> "Callable[[Progress], None]":
    """Return a function that shows the transferred and the total bytes."""

    def report(progress: "Progress") -> None:
        show_progress(f"{activity} (MiB)", progress.bytes_done >> 20, progress.bytes_total >> 20)

    return report


@contextmanager
def show_from_first_report(call: Call, activity: str) -> "Iterator[Callable[[Progress], None]]":
    """Show progress from the first report on.

    The display starts a thread, and a process can be forked only while it has a single thread. A
    backup or a restore forks its processes before its first report.
    """
    with ExitStack() as stack:
        reports: list[Callable[[Progress], None]] = []

        def report(progress: "Progress") -> None:
            if not reports:
                reports.append(report_to(stack.enter_context(call.progress()), activity))
            reports[0](progress)

        yield report
