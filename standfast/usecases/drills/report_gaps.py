"""Gaps that a drill or recovery found, with owner and due date.

A gap is something that recovery lacks, such as a check that failed. A drill is a test restore.

Rules
- The owner of a gap is the owner of its service. A gap without a service belongs to the owners of
  the services that use its backup set.
- A gap is due `drills.gap_days` after the first report that contains the gap. If the next report
  about the same set or services contains the gap too, its dates do not change. Thus a new drill
  does not postpone the due date.
- A skipped check is not a gap if it was not requested, or if the drill restored only a sample of
  the files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from standfast.config import Config
from standfast.continuity.recovery_objectives import ObjectiveResult
from standfast.records import Json, moment, timestamp
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.signed_reports import read_reports

NOT_REQUESTED = "not requested"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """One thing that recovery lacks."""

    key: str  # identifies the gap; equal in consecutive reports
    text: str
    set_name: str = ""
    service: str = ""  # "" for a gap that concerns all services of the set


def drill_gaps(outcome: DrillOutcome) -> Iterator[Gap]:
    """Yield the gaps of the drill of one set, without missed objectives."""
    name = outcome.set_name
    if outcome.problem:
        yield Gap(key=f"{name} problem", text=outcome.problem, set_name=name)
    if outcome.is_damaged:
        text = f"content of the recovery point of {name} is damaged"
        yield Gap(key=f"{name} damage", text=text, set_name=name)
    if outcome.problems:
        text = f"paths of {name} that were not restored: {len(outcome.problems)}"
        yield Gap(key=f"{name} paths", text=text, set_name=name)
    if not (outcome.target.is_gone or outcome.target.is_kept):
        text = f"the restored copy of {name} was not destroyed"
        yield Gap(key=f"{name} target", text=text, set_name=name)
    for number, shortfall in enumerate(outcome.shortfalls):
        yield Gap(key=f"{name} shortfall {number}", text=shortfall, set_name=name)
    for check in outcome.checks:
        is_skipped = check.state is CheckState.SKIPPED and outcome.sample is None
        if check.reason == NOT_REQUESTED or not (is_skipped or check.state is CheckState.FAILED):
            continue
        yield Gap(
            key=f"{name} check {check.service} {check.name}",
            text=f"check {check.state}: {check.name}: {check.reason}",
            set_name=name,
            service=check.service,
        )


def objective_gaps(result: ObjectiveResult) -> Iterator[Gap]:
    """Yield a gap for each missed objective of a service."""
    name = result.service
    if result.is_checked and not result.is_rto_met:
        yield Gap(key=f"{name} rto", text=f"the RTO of {name} was missed", service=name)
    if not result.is_rpo_met:
        yield Gap(key=f"{name} rpo", text=f"the RPO of {name} was missed", service=name)


def dated_gaps(config: Config, subject: str, gaps: Iterator[Gap], at: datetime) -> list[Json]:
    """Return gaps for a report, with owner, first date and due date."""
    before = _newest_gaps(config, subject)
    dated: dict[str, Json] = {}
    for gap in gaps:
        since = moment(before[gap.key]["since"]) if gap.key in before else at
        dated[gap.key] = {
            "key": gap.key,
            "gap": gap.text,
            "owner": _owner(config, gap),
            "since": timestamp(since),
            "due": timestamp(since + timedelta(days=config.drills.gap_days)),
        }
    return [*dated.values()]


def _newest_gaps(config: Config, subject: str) -> Mapping[str, Mapping[str, Any]]:
    for _, report in read_reports(config.drills.folder / "reports"):
        if report.get("set") == subject and not report.get("sample"):
            found = cast("list[Mapping[str, Any]]", report.get("gaps", []))
            return {gap["key"]: gap for gap in found}
    return {}


def _owner(config: Config, gap: Gap) -> str:
    services = config.services
    if gap.service in services:
        return services[gap.service].owner
    owners = dict.fromkeys(
        service.owner for service in services.values() if gap.set_name in service.sets
    )
    return " and ".join(owners)
