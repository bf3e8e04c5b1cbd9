"""Backup and drill results for pages, from runs and signed drill reports.

A drill is a test restore.

Rules
- A drill report is shown only if the ledger (the installation's database) has the SHA-256 of its
  file.
- Pages show counts, times and names of checks, but no file names.
- If a drill failed before it measured any service, each service of its backup set is shown as not
  recovered.
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from standfast.ledger.runs.run_record import RunRecord
from standfast.reports.report_records import BackupLine, Check, DrillLine, Measure, PredictionLine
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.service_prediction import predict_recovery
from standfast.usecases.drills.signed_reports import read_reports

_MOST_BACKUPS = 20


def backup_lines(installation: Installation) -> tuple[BackupLine, ...]:
    """Return the newest backup runs, newest first."""
    runs = installation.ledger.runs.all("backup")[:_MOST_BACKUPS]
    return tuple(
        BackupLine(
            at=run.started_at,
            set_name=run.subject,
            point=str(run.summary.get("point", "")),
            state=run.state,
            has_jumped=bool(run.summary.get("jumps")),
            way=run.way,
            files=int(run.summary.get("files", 0)),
            read_bytes=int(run.summary.get("bytes_total", 0)),
            stored_bytes=int(run.summary.get("bytes_new", 0)),
            unread=int(run.summary.get("unread", 0)),
            took=run.ended_at - run.started_at if run.ended_at else None,
        )
        for run in runs
    )


def drill_lines(installation: Installation) -> tuple[DrillLine, ...]:
    """Return all drills, newest first."""
    filed = filed_reports(installation.config.drills.folder / "reports")
    return tuple(
        _drill(installation, run, filed.get(str(run.summary.get("report")), {}))
        for run in installation.ledger.runs.all("drill")
    )


def prediction_lines(installation: Installation) -> tuple[PredictionLine, ...]:
    """Return the predicted recovery time of each service."""
    return tuple(
        PredictionLine(
            service=service.service,
            expected=_milliseconds(found.expected_ms if found else None),
            shortest=_milliseconds(found.shortest_ms if found else None),
            longest=_milliseconds(found.longest_ms if found else None),
            drills=found.drill_count if found else 0,
            rto=timedelta(milliseconds=service.rto_promised_ms),
            verdict=service.verdict,
        )
        for service in predict_recovery(installation)
        for found in [service.prediction]
    )


def filed_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Return all drill reports, unverified, by the SHA-256 of their file."""
    return {
        hashlib.sha256(path.read_bytes()).hexdigest(): report
        for path, report in read_reports(folder)
    }


def _drill(installation: Installation, run: RunRecord, report: Mapping[str, Any]) -> DrillLine:
    summary = run.summary
    return DrillLine(
        at=run.started_at,
        set_name=run.subject,
        point=str(summary.get("point", "")),
        state=run.state,
        way=run.way,
        files=int(summary.get("files", 0)),
        size_bytes=int(summary.get("bytes", 0)),
        took=run.ended_at - run.started_at if run.ended_at else None,
        measures=tuple(measure_of(service) for service in report.get("services", ()))
        or _not_recovered(installation, run),
        checks=tuple(
            Check(
                name=f"{check['service']}: {check['name']}" if check["service"] else check["name"],
                state=check["state"],
                detail=check["reason"],
            )
            for check in report.get("checks", ())
        ),
        is_destroyed=summary.get("target_is_gone"),
        problem=str(summary.get("problem") or report.get("problem", "")),
        digest=str(summary.get("report", "")),
        controls=tuple(report.get("controls", ())),
    )


def _not_recovered(installation: Installation, run: RunRecord) -> tuple[Measure, ...]:
    """Return "not recovered" for each service, if the drill failed."""
    return tuple(
        Measure(
            service=name,
            rto=None,
            rto_promised=timedelta(minutes=service.rto_minutes),
            rpo=None,
            rpo_promised=timedelta(minutes=service.rpo_minutes),
        )
        for name, service in installation.config.services.items()
        if run.state == "failed" and run.subject in service.sets
    )


def measure_of(service: Mapping[str, Any]) -> Measure:
    basis = {
        "last_change": "the last change in the restored data",
        "consistent_at": "the moment of the backup",
    }
    return Measure(
        service=service["service"],
        rto=_milliseconds(service["rto_actual_ms"]),
        rto_promised=timedelta(milliseconds=service["rto_promised_ms"]),
        rpo=_milliseconds(service["rpo_actual_ms"]),
        rpo_promised=timedelta(milliseconds=service["rpo_promised_ms"]),
        rpo_basis=basis.get(service["rpo_measured_from"], ""),
        is_beyond_mtpd=service.get("is_beyond_mtpd", False),
        is_checked=service["rto"] != "not measured",
    )


def _milliseconds(count: int | None) -> timedelta | None:
    return None if count is None else timedelta(milliseconds=count)
