"""Chapters about backups: two backups, and a drill of their restore.

A drill restores a backup, checks it, measures the time and destroys the restored data.
"""

from datetime import timedelta
from typing import Any

from demo.call_centre import next_day
from demo.database_drill import drill_database
from demo.demo_configuration import SET
from demo.tour_context import TourContext, expect
from standfast.ledger.runs.run_record import RunRecord
from standfast.plurals import counted
from standfast.reports.report_sentences import duration, size
from standfast.usecases.core.installation import Installation, system_clock
from standfast.usecases.setup.new_installation import IDENTITY_FILE, OFFLINE

_DATABASE_AT_MOST = (
    5_000_000  # bytes of database, logs and lists that each nightly backup stores again
)


def first_backup(tour: TourContext) -> None:
    """Back up everything for the first time."""
    with tour.output.chapter("The first backup: everything, encrypted"):
        run = _run_backup(tour)
        tour.output.print_line(
            f"{counted(run.summary['files'], 'file')}, {size(run.summary['bytes_total'])} read, "
            f"{size(run.summary['bytes_new'])} stored in {_duration_of(run)}."
        )
        tour.output.print_line("Encrypted to public keys: this host cannot read its backups.")
        found = _run_drill(tour)
        tour.output.print_line(
            f"Restored in {_duration_text(found['rto_ms'])}: every file and row equals the source."
        )


def second_backup(tour: TourContext) -> None:
    """Simulate a day of work, and store only its changes."""
    output = tour.output
    with output.chapter("The second backup: only what changed"):
        with output.show_progress("a day of work"):
            day = next_day(tour.centre, system_clock(), lambda *_: None)
        output.print_line(
            f"The day: {counted(day.recorded, 'new recording')}, one renamed, one deleted, "
            f"{counted(day.customers_changed, 'customer')} changed, "
            f"{counted(day.contacts, 'contact')}."
        )
        run = _run_backup(tour)
        expect(
            0 < run.summary["bytes_new"] < day.recorded_bytes + _DATABASE_AT_MOST,
            "the second backup stores the new recordings and a little of the database",
        )
        output.print_line(
            f"{counted(run.summary['files'], 'file')} checked, {size(run.summary['bytes_new'])} "
            f"stored in {_duration_of(run)}; the renamed recording took almost no space."
        )


def drill(tour: TourContext) -> None:
    """Restore the second backup in isolation, compare, measure, destroy."""
    output = tour.output
    with output.chapter("A drill: restore, compare, measure, destroy"):
        found = _run_drill(tour)
        output.print_line(
            f"{counted(found['files'], 'file')} ({size(found['bytes'])}) and every row of the "
            "database equal the source: content, modes, times, links."
        )
        output.print_line(
            f"Usable again after {_duration_text(found['rto_ms'])} (RTO), "
            f"{_duration_text(found['rpo_ms'])} of work lost (RPO): "
            f"all {found['services_met']} services within their objectives."
        )
        output.print_line(
            "The restored copy is destroyed, which was checked. The report is signed."
        )
        drill_database(output)


def _run_backup(tour: TourContext) -> RunRecord:
    tour.output.print_command(f"standfast backup run {SET}")
    with tour.output.show_progress("backing up"):
        tour.engine.back_up(SET)
    with tour.installation() as installation:
        run = _newest(installation, "backup")
    expect(run.state == "done", f"the backup is done (state: {run.state})")
    expect(run.way == "prefect", f"Prefect ran the backup (it was run by: {run.way})")
    expect(run.summary["unread"] == 0, "every file was read")
    return run


def _run_drill(tour: TourContext) -> dict[str, Any]:
    """Run the drill; return the summary that the database stores."""
    tour.output.print_command(f"standfast drill run {SET} --identity {OFFLINE}/{IDENTITY_FILE}")
    with tour.output.show_progress("restoring and comparing"):
        tour.engine.drill(SET)
    with tour.installation() as installation:
        run = _newest(installation, "drill")
    found = run.summary
    expect(run.state == "done", f"the drill is done (state: {run.state})")
    expect(run.way == "prefect", f"Prefect ran the drill (it was run by: {run.way})")
    expect(found["differences"] == 0, "the restored tree and database equal the source")
    expect(found["target_is_gone"] is True, "the restored copy is destroyed afterwards")
    expect(found["services_missed"] == 0, "every service is back within its promise")
    return found


def _newest(installation: Installation, kind: str) -> RunRecord:
    runs = installation.ledger.runs.all(kind)
    expect(bool(runs), f"the ledger knows of a {kind}")
    return runs[0]


def _duration_of(run: RunRecord) -> str:
    expect(run.ended_at is not None, "the run has ended")
    return duration((run.ended_at or run.started_at) - run.started_at)


def _duration_text(milliseconds: int) -> str:
    return duration(timedelta(milliseconds=milliseconds))
