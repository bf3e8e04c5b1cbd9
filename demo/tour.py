"""Tour of a contact centre: setup, backup, drill, breach, recovery.

Rules
- Standfast does all work of the tour, with the same operations and flows as its commands. Each
  chapter shows the command, and checks its result without Standfast.
- The exit status is 0 only if every check passed.
- The tour ends its processes by their process numbers, on SIGTERM too. The directory and the mail
  server stay, so that every command can be tried on the installation: `stop` ends them, `serve`
  starts them again.
- A folder of an earlier demo is replaced only on request, since a person may have worked in it. Any
  other folder with content is never changed.
"""

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import breach_chapters, recovery_chapters, server_processes
from demo.call_centre import Scale
from demo.demo_configuration import DIRECTORY
from demo.setup_chapter import installed_tour
from demo.tour_context import TourContext
from demo.tour_output import TourOutput, tell
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json, JsonObject
from standfast.usecases.reports.result_pages import write_incident_page

DEFAULT_FOLDER = "demo-place"
_MARK = ".made-by-standfast-demo"


def run(
    folder: Path | None = None,
    *,
    as_json: bool = False,
    is_again: bool = False,
    scale: Scale | None = None,
    output: TourOutput | None = None,
) -> int:
    """Create an installation in `folder`, show the tour, return the status.

    `is_again` deletes the folder of an earlier tour with all its content. Raise UsageError if the
    folder contains anything else, and StandfastError if a check fails: the installation then stays
    for inspection, without its servers.
    """
    began = time.monotonic()
    folder = (folder or Path(DEFAULT_FOLDER)).absolute()
    output = output or TourOutput(out=sys.stderr if as_json else sys.stdout)
    _prepare_folder(folder, is_again=is_again)
    try:
        with _sigterm_as_interrupt(), installed_tour(folder, scale or Scale(), output) as tour:
            incident = _run_chapters(tour)
    except BaseException:
        if (folder / server_processes.SERVERS_FILE).exists():
            server_processes.stop(folder)
        raise
    seconds = time.monotonic() - began
    _print_summary(tour, incident, seconds)
    if as_json:
        _print_json(tour, incident, seconds)
    return ExitStatus.DONE


def serve(folder: Path | None = None) -> list[server_processes.Running]:
    """Start the servers of a demo's installation again."""
    return server_processes.start_again((folder or Path(DEFAULT_FOLDER)).absolute())


def stop(folder: Path | None = None) -> int:
    """End the servers of a demo's installation; return how many ran."""
    return server_processes.stop((folder or Path(DEFAULT_FOLDER)).absolute())


def _run_chapters(tour: TourContext) -> str:
    recovery_chapters.first_backup(tour)
    recovery_chapters.second_backup(tour)
    recovery_chapters.drill(tour)
    breach_chapters.plan(tour)
    incident = breach_chapters.contain(tour)
    breach_chapters.notify_customers(incident)
    breach_chapters.unlock_innocent(incident)
    breach_chapters.verify(incident)
    with tour.installation() as installation:
        write_incident_page(installation, incident.incident, tour.page)
    return incident.incident


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """End the block on SIGTERM as on Ctrl-C, so that no process remains."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set a signal handler
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare_folder(folder: Path, *, is_again: bool) -> None:
    """Create an empty folder with the mark of the demo."""
    if (folder / _MARK).exists():
        if not is_again:
            raise UsageError(
                f"{folder}: an earlier demo is in this folder. Nothing was started.\n"
                "To continue with it, start its servers: `standfast demo --serve`.\n"
                "To delete it and start again: `standfast demo --again`, or `make demo AGAIN=1`.\n"
                "To keep it and create another one: `standfast demo FOLDER`."
            )
        if (folder / server_processes.SERVERS_FILE).exists():
            server_processes.stop(folder)
        shutil.rmtree(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder}: the folder has files that the demo did not create. Name an empty folder, "
            f"or omit the name to use ./{DEFAULT_FOLDER}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / _MARK).write_text("Made by `standfast demo`, whose --again replaces all of it.\n")


def _print_summary(tour: TourContext, incident: str, seconds: float) -> None:
    output, folder = tour.output, tour.folder
    output.print_line("")
    output.print_line(f"All checks passed, {seconds:.0f} s in all. The page of results:")
    output.print_line(f"  {tour.page}")
    output.print_line("")
    output.print_line("Try next:")
    for line in _path_commands():
        output.print_line(f"  {line}")
    output.print_line(f"  export STANDFAST_CONFIG={tour.config_file}")
    for command in (
        "status",
        f"incident status {incident} --targets",
        f'incident answer {incident} watch "nothing found"',
        f"backup restore latest --to restored --identity {tour.identity_file} 'crm/*'",
        f"lock {DIRECTORY}:{tour.centre.innocent[0]}",
    ):
        output.print_line(f"  standfast {command}")
    output.print_line("")
    output.print_line("The directory and the mail server keep running for these commands.")
    output.print_line(f"End them: standfast demo --stop {folder}")


def _path_commands() -> list[str]:
    """Return the command that lets a shell find `standfast` after `make demo`."""
    if shutil.which("standfast"):
        return []
    return [f'export PATH="{Path(sys.executable).parent}:$PATH"']


def _print_json(tour: TourContext, incident: str, seconds: float) -> None:
    chapters: list[Json] = [
        {"title": chapter.title, "milliseconds": round(chapter.seconds * 1000)}
        for chapter in tour.output.chapters
    ]
    document: JsonObject = {
        "folder": str(tour.folder),
        "config": str(tour.config_file),
        "page": str(tour.page),
        "incident": incident,
        "chapters": chapters,
        "milliseconds": round(seconds * 1000),
        "exit_status": int(ExitStatus.DONE),
    }
    lost = "the demo is complete, and its page of results is written; only the output is lost"
    tell(json.dumps(document, ensure_ascii=False, indent=2), sys.stdout, lost)
