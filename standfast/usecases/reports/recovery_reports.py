"""Pages of one drill or recovery: parts, statements, undone sets.

    write_drill_report(installation, "crm", Path("crm.html"))
    write_recovery_report(installation, "inc-2026-0001", Path("recovery.html"))

A drill is a test restore of backup sets; a recovery restores them in an incident.

Rules
- A page shows one signed report. Each report contains the hash of the report before it. The report
  of a drill is written when the drill ends. The report of a recovery is written together with its
  page, and the incident's timeline stores the hash of the report.
- If the verification of these hashes and signatures finds a problem, no page is written, because a
  page would hide the problem.
- A page contains no names of files, and no names of people from the restored data. The owners of
  services on the page are roles from the configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

from standfast.continuity.control_mapping import CLAUSES, Statement
from standfast.errors import Damaged, UsageError
from standfast.plurals import counted
from standfast.records import Json, Mode, moment, timestamp
from standfast.reports.html_page import write_page
from standfast.reports.recovery_report_page import (
    CheckLine,
    ClauseLine,
    GapLine,
    RecoveryReport,
    SetLine,
    recovery_report_page,
)
from standfast.reports.report_records import Measure, StepLine
from standfast.reports.report_sentences import duration, size
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import origin_of
from standfast.usecases.core.run_record import SERVICE_SUBJECT
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.drill_history import REPORTED, list_drills
from standfast.usecases.drills.outcome import judged
from standfast.usecases.drills.report_gaps import Gap, dated_gaps, objective_gaps
from standfast.usecases.drills.signed_reports import file_report, read_reports, signed_page
from standfast.usecases.recovery.paper_list import paper_items
from standfast.usecases.recovery.recovery_status import RecoveryStatus, SetStatus, recovery_status
from standfast.usecases.reports.backup_and_drill_results import (
    drill_lines,
    filed_reports,
    measure_of,
)
from standfast.usecases.reports.result_pages import heading


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """A page that was written, and its signed report."""

    page: Path
    report: Path
    digest: str
    number: int

    def as_json(self) -> dict[str, Json]:
        return {
            "page": str(self.page),
            "report": str(self.report),
            "report_sha256": self.digest,
            "number": self.number,
        }


def write_drill_report(installation: Installation, name: str | None, out: Path) -> WrittenReport:
    """Write the page of the newest drill of a set or service.

    `name` may also be the id of a drill, or the beginning of the id. Without a name, use the newest
    drill. Raise UsageError if there is no such drill, and Damaged if the verification of the
    reports finds a problem.
    """
    subjects = (name, f"{SERVICE_SUBJECT}{name}")
    for path, report in read_reports(_folder(installation)):
        is_drill = report.get("kind", "drill") == "drill"
        run = str(report["run"])
        if is_drill and (name is None or report["set"] in subjects or run.startswith(name)):
            return _write(installation, path, report, out)
    of = f" of {name}" if name else ""
    raise UsageError(f"report: there is no drill{of} on this machine. See `standfast drill list`.")


def write_recovery_report(installation: Installation, incident_id: str, out: Path) -> WrittenReport:
    """Write a signed report about a recovery at this moment, and its page.

    Raise UsageError for an incident without a recovery.
    """
    status = recovery_status(installation, incident_id)
    if not status.sets:
        raise UsageError(f"{incident_id}: it recovers no set. See `standfast incident list`.")
    run = uuid4().hex
    filed = file_report(
        _folder(installation),
        run,
        _recovery_body(installation, incident_id, status),
        installation.ledger.cipher.signing_key(),
    )
    origin = origin_of(installation.config).as_json()
    installation.record_event(incident_id, REPORTED, {"report": filed.digest, "run": run, **origin})
    report = next(read for path, read in read_reports(filed.path.parent) if path == filed.path)
    return _write(installation, filed.path, report, out)


def _folder(installation: Installation) -> Path:
    return installation.config.drills.folder / "reports"


def _recovery_body(
    installation: Installation, incident_id: str, status: RecoveryStatus
) -> dict[str, Json]:
    row = installation.ledger.incidents.get(incident_id)
    items = paper_items(installation, incident_id)
    gaps = chain(
        _undone_sets(status),
        *map(objective_gaps, status.services),
        [
            Gap(key=f"{service.service} unchecked", text=text, service=service.service)
            for service in status.services
            if not service.is_checked
            for text in [f"no check of {service.service} passed, so its RTO is not measured"]
        ],
    )
    is_done = all(part.state == "done" for part in status.sets)
    is_short = any(service.is_short for service in status.services)
    return {
        "kind": "recovery",
        "run": incident_id,
        "set": incident_id,
        "mode": row.mode.value,
        "declared_at": timestamp(row.opened_at),
        "ended_at": timestamp(row.closed_at) if row.closed_at else None,
        "services": [judged(service) for service in status.services],
        "sets": {
            part.set_name: {
                "result": part.state,
                "problem": part.reason,
                "point": part.plan.point if part.plan else "",
                "chosen": part.plan.evidence if part.plan else "",
                "clocks_ms": dict(part.clocks_ms),
                "set_aside": len(part.set_aside),
                "checks": [*_checks(part)],
            }
            for part in status.sets
        },
        "paper": {
            "items": len(items),
            "entered": sum(item.entered_at is not None for item in items),
        },
        "gaps": dated_gaps(installation.config, incident_id, gaps, row.opened_at),
        "result": "partial" if is_done and is_short else "done" if is_done else "not complete",
    }


def _checks(part: SetStatus) -> Iterator[dict[str, Json]]:
    """Yield the checks of a recovered set.

    No check has the state "failed", because a failed check ends the recovery of the set.
    """
    for service, names in part.passed.items():
        for name in names:
            yield _check(service, name, "passed", "")
    for service, reasons in part.skipped.items():
        for name, reason in reasons.items():
            yield _check(service, name, "skipped", reason)


def _check(service: str, name: str, state: str, reason: str) -> dict[str, Json]:
    return {"name": name, "service": service, "level": "", "state": state, "reason": reason}


def _undone_sets(status: RecoveryStatus) -> Iterator[Gap]:
    for part in status.sets:
        if part.state != "done":
            reason = f": {part.reason}" if part.reason else ""
            text = f"set {part.set_name} is not recovered, but {part.state}{reason}"
            yield Gap(key=f"{part.set_name} state", text=text, set_name=part.set_name)


def _write(
    installation: Installation, path: Path, report: Mapping[str, Any], out: Path
) -> WrittenReport:
    problems = list_drills(installation).problems
    if problems:
        raise Damaged(
            f"drill reports: {problems[0].where}: {problems[0].problem}. Run "
            "`standfast drill list`, and restore the reports from a backup."
        )
    content, filed = path.read_bytes(), filed_reports(path.parent)
    digest = next(digest for digest, other in filed.items() if other == report)
    key = installation.ledger.cipher.signing_key()
    parts = dict(_parts(report, filed))
    gaps = report.get("gaps", [])
    owners = {name: service.owner for name, service in installation.config.services.items()}
    measures = tuple(measure_of(service) for service in report["services"])
    checks = tuple(
        CheckLine(
            set_name=name,
            name=f"{check['service']}: {check['name']}" if check["service"] else check["name"],
            level=check["level"] or "service",
            state=check["state"],
            reason=check["reason"],
        )
        for name, part in parts.items()
        for check in part.get("checks", ())
    )
    now = installation.clock()
    sets = tuple(
        _set_line(name, part, moment(report["declared_at"])) for name, part in parts.items()
    )
    statements = _statements(installation, report, sets, checks)
    page = recovery_report_page(
        RecoveryReport(
            heading=heading(installation),
            kind=report.get("kind", "drill"),
            subject=str(report["set"]).removeprefix(SERVICE_SUBJECT),
            result=str(report["result"]),
            notes=tuple(_notes(report)),
            declared_at=moment(report["declared_at"]),
            measures=tuple((measure, owners.get(measure.service, "")) for measure in measures),
            sets=sets,
            checks=checks,
            gaps=tuple(
                GapLine(
                    text=gap["gap"],
                    owner=gap["owner"],
                    since=moment(gap["since"]),
                    due=moment(gap["due"]),
                    is_overdue=moment(gap["due"]) < now,
                )
                for gap in gaps
            ),
            drills=drill_lines(installation),
            clauses=tuple(
                ClauseLine(
                    name=clause.name,
                    topic=clause.topic,
                    statements=tuple(
                        statements[kind] for kind in clause.statements if kind in statements
                    ),
                )
                for clause in CLAUSES
            ),
            number=report["number"],
            digest=digest,
            previous=report["previous"],
            key=key.public_key().public_bytes_raw().hex(),
        )
    )
    written = write_page(signed_page(page, content, key), out)
    return WrittenReport(page=written, report=path, digest=digest, number=report["number"])


def _parts(
    report: Mapping[str, Any], filed: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the part of the report about each set.

    The report of a drill of services has only the hashes of the reports about its sets.
    """
    if "sets" not in report:
        yield report["set"], report
    for name, part in report.get("sets", {}).items():
        yield name, {**filed.get(part.get("report", ""), {}), **part}


def _set_line(name: str, part: Mapping[str, Any], declared_at: datetime) -> SetLine:
    has_counts = "files" in part
    details = [f"{counted(part['files'], 'file')}, {size(part['bytes'])}." if has_counts else ""]
    details += [f"Chosen: {part['chosen']}." if part.get("chosen") else ""]
    if part.get("set_aside"):
        details.append(f"Set aside: {counted(part['set_aside'], 'target')}.")
    if part["result"] != "done":
        details.append(str(part.get("problem") or ""))
    ends = {
        clock: declared_at + timedelta(milliseconds=took)
        for clock, took in part.get("clocks_ms", {}).items()
    } or {clock: moment(at) for clock, at in part.get("clocks", {}).items()}
    steps, began = [], declared_at
    for clock in DrillClock:
        if (end := ends.get(clock)) is not None and clock is not DrillClock.DECLARED:
            steps.append(_step(clock, began, end))
            began = end
    return SetLine(
        name=name,
        result=str(part["result"]),
        point=str(part.get("point", "")),
        detail=" ".join(filter(None, details)),
        steps=tuple(steps),
    )


def _step(clock: str, began: datetime, end: datetime) -> StepLine:
    return StepLine(
        name=clock, title=clock, state=None, began_at=began, running_from=began, ended_at=end
    )


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    if report.get("mode") == Mode.EXERCISE:
        yield "exercise, nothing was restored"
    if sample := report.get("sample"):
        yield f"sample of {sample['percent']:g} %, seed {sample['seed']}"
    if drawn := report.get("surprise"):
        yield f"by surprise, seed {drawn['seed']}"
    if paper := report.get("paper", {}).get("items"):
        yield f"{report['paper']['entered']} of {paper} items on paper entered"


def _measured(measure: Measure) -> str:
    rto = "never usable" if measure.is_checked else "RTO not measured"
    if measure.rto is not None:
        rto = f"RTO {duration(measure.rto)} of {duration(measure.rto_promised)}"
    rpo = "RPO not measured"
    if measure.rpo is not None:
        rpo = f"RPO {duration(measure.rpo)} of {duration(measure.rpo_promised)}"
    return f"{measure.service}: {rto}, {rpo}"


def _statements(
    installation: Installation,
    report: Mapping[str, Any],
    sets: tuple[SetLine, ...],
    checks: tuple[CheckLine, ...],
) -> dict[Statement, str]:
    """Return the statements by kind; omit kinds without data in the report."""
    found: dict[Statement, str] = {}
    restored = [f"{part.name} from {part.point}" for part in sets if part.steps and part.point]
    if restored:
        found[Statement.RESTORED] = f"Restored: {', '.join(restored)}."
    if checks:
        states = ("passed", "failed", "skipped")
        counts = [f"{sum(c.state == state for c in checks)} {state}" for state in states]
        found[Statement.CHECKED] = f"Checks: {', '.join(counts)}."
    if objectives := [_measured(measure_of(service)) for service in report["services"]]:
        found[Statement.MEASURED] = f"Measured: {'; '.join(objectives)}."
    gaps = report.get("gaps")
    if gaps is not None:
        owned = sum(bool(gap["owner"]) for gap in gaps)
        found[Statement.CORRECTED] = (
            f"{counted(len(gaps), 'gap')} with a due date, {owned} with an owner."
            if gaps
            else "No gap was found."
        )
    earlier = next(
        (
            other
            for _, other in read_reports(_folder(installation))
            if other["set"] == report["set"] and other["number"] < report["number"]
        ),
        None,
    )
    if earlier is not None:
        found[Statement.REPEATED] = (
            f"Repeated: on {report['declared_at'][:10]}, and before on "
            f"{earlier['declared_at'][:10]}."
        )
    return found
