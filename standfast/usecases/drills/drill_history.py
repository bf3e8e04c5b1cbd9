"""List of past drills: their reports are checked; exit status.

A drill is a test restore of a backup set or of services. A prediction is the expected recovery time
of a service.
"""

from dataclasses import dataclass

from standfast.errors import ExitStatus
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.records import Json, timestamp
from standfast.usecases.core.backup_repository import check_set, translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.file_sample import SAMPLE_SUBJECT
from standfast.usecases.drills.service_prediction import ServicePrediction, predict_recovery
from standfast.usecases.drills.signed_reports import ReportProblem, check_reports

REPORTED = "recovery.reported"  # the event that records the report of a recovery


@dataclass(frozen=True, kw_only=True)
class DrillList:
    """The drills, newest first, with invalid reports and predictions."""

    runs: tuple[RunRecord, ...]
    problems: tuple[ReportProblem, ...]
    predictions: tuple[ServicePrediction, ...]
    elsewhere: tuple[str, ...] = ()  # other machines; each has the reports of its own drills

    @property
    def exit_status(self) -> ExitStatus:
        return ExitStatus.DAMAGED if self.problems else ExitStatus.DONE

    def as_json(self) -> dict[str, Json]:
        return {
            "drills": [
                {
                    "run": run.id,
                    "set": run.subject,
                    "way": run.way,
                    "state": run.state,
                    "started_at": timestamp(run.started_at),
                    "ended_at": timestamp(run.ended_at) if run.ended_at else None,
                    **run.summary,
                }
                for run in self.runs
            ],
            "problems": [
                {"where": problem.where, "problem": problem.problem} for problem in self.problems
            ],
            "predictions": [service.as_json() for service in self.predictions],
            "elsewhere": list(self.elsewhere),
            "exit_status": int(self.exit_status),
        }


def list_drills(installation: Installation, set_name: str | None = None) -> DrillList:
    """List the drills, and check the signed reports of drills and recoveries.

    Each report must exist, have a valid signature, and contain the hash of the report before it.
    The reports of another machine are checked on that machine. Raise `UsageError` for an unknown
    set.
    """
    every = installation.ledger.runs.all("drill")
    subjects = (set_name, f"{SAMPLE_SUBJECT}{set_name}")
    runs = [run for run in every if set_name is None or run.subject in subjects]
    check_set(installation, set_name, runs)
    recoveries = installation.ledger.timeline(action=REPORTED)
    known: dict[str, str] = {}
    elsewhere: dict[str, str] = {}
    for run_id, summary in (
        *((run.id, run.summary) for run in every),
        *((event.detail["run"], event.detail) for event in recoveries if "run" in event.detail),
    ):
        if summary.get("report"):
            known[run_id] = str(summary["report"])
            if (machine := Origin.of(summary).machine) not in ("", host_name()):
                elsewhere[run_id] = machine
    with translated_errors("reading the drill reports"):
        problems = check_reports(
            installation.config.drills.folder / "reports",
            installation.ledger.cipher.signing_key(),
            known,
            elsewhere,
        )
    services = installation.config.services
    return DrillList(
        runs=tuple(runs),
        problems=problems,
        predictions=tuple(
            service
            for service in predict_recovery(installation)
            if set_name is None or set_name in services[service.service].sets
        ),
        elsewhere=tuple(sorted({*elsewhere.values()})),
    )
