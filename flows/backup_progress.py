"""Progress of a backup in Prefect: one progress artifact for each run.

Rules
- Only counts are sent, never a path: files, bytes, and the number of files as a percentage of the
  number in the previous backup.
- A separate thread sends the counts, so that a backup does not wait for a server that hangs or does
  not run. Updates that the server rejects are dropped.
"""

import contextvars
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from backup.records import Progress

EVERY_SECONDS = 10.0
LAST_REPORT_SECONDS = 2.0  # wait for the last report at the end of a backup
_MOST_FAILURES = 3
_ALL_BUT_DONE = 99.0  # the largest percentage that is shown before the end of the backup


class ProgressShown:
    """A receiver of progress reports; shows the newest report in Prefect."""

    def __init__(self, set_name: str, files_expected: int, every_seconds: float) -> None:
        self._key = "backup-" + re.sub("[^a-z0-9]+", "-", set_name.lower()).strip("-")
        self._files_expected = files_expected
        self._every_seconds = every_seconds
        self._latest: Progress | None = None
        self._ended = threading.Event()
        self._is_whole = False
        self._artifact: UUID | None = None
        context = contextvars.copy_context()  # identifies the current run of Prefect
        self._thread = threading.Thread(
            target=context.run, args=(self._show,), name=self._key, daemon=True
        )
        self._thread.start()

    def __call__(self, progress: Progress) -> None:
        self._latest = progress

    def end(self, *, is_whole: bool) -> None:
        """Show the last report; wait for a limited time."""
        self._is_whole = is_whole
        self._ended.set()
        self._thread.join(LAST_REPORT_SECONDS)

    def _show(self) -> None:
        failures = 0
        is_last = False
        while not is_last and failures < _MOST_FAILURES:
            is_last = self._ended.wait(self._every_seconds)
            try:
                self._send(is_last=is_last)
                failures = 0
            except Exception:
                # Ignore every error of Prefect: the display must not affect the backup.
                failures += 1

    def _send(self, *, is_last: bool) -> None:
        latest = self._latest
        is_done = is_last and self._is_whole
        if latest is None and not is_done:
            return
        percent = 100.0 if is_done else self._percent(latest)
        if self._artifact is None:
            made = create_progress_artifact(
                progress=percent, key=self._key, description=_counts(latest)
            )
            # Prefect returns a coroutine only in an event loop, and this thread has none.
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, progress=percent, description=_counts(latest))

    def _percent(self, progress: Progress | None) -> float:
        if progress is None or not self._files_expected:
            return 0.0
        return min(100.0 * progress.files / self._files_expected, _ALL_BUT_DONE)


@contextmanager
def progress_shown(
    set_name: str, files_expected: int, every_seconds: float = EVERY_SECONDS
) -> Iterator[ProgressShown]:
    """Show the progress of the backup in the `with` block."""
    shown = ProgressShown(set_name, files_expected, every_seconds)
    is_whole = False
    try:
        yield shown
        is_whole = True
    finally:
        shown.end(is_whole=is_whole)


def _counts(progress: Progress | None) -> str:
    if progress is None:
        return "done at once"
    return (
        f"{progress.files:,} files, {progress.bytes_done >> 20:,} MiB read, "
        f"{progress.bytes_new >> 20:,} MiB stored"
    )
