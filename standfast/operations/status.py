"""Where everything stands, in a moment: last backups and drills, open incidents, who is untold.

Owns the few lines that `standfast status` shows. Leaves trying things out to `checks`, and one
incident in full to `incident`.

Rules
- It answers in 0.4 s, so it reads two keys of the configuration by itself and the ledger by a
  glance; the schema is loaded only when something there does not fit, to say what.
- It opens no key and shows nothing personal: counts, names of sets and steps.
- The one next step of an incident is the sentence that `standfast incident status` says.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from standfast.errors import ConfigurationError
from standfast.ledger.glance import Glance, IncidentGlance, LastRun, StepGlance, glance
from standfast.records import Json, JsonObject, timestamp

if TYPE_CHECKING:
    from standfast.playbook.engine import StepView

_GOOD = ("done", "partial")


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """How one backup set was last backed up and drilled."""

    name: str
    last_backup: LastRun | None  # the newest that gave a recovery point
    last_failed: datetime | None  # when a newer one failed
    running_since: datetime | None
    last_drill: LastRun | None

    def as_json(self, now: datetime) -> JsonObject:
        """Give the set for `--json`."""
        return {
            "set": self.name,
            "last_backup": _run_json(self.last_backup, now),
            "failed_since": _written(self.last_failed),
            "running_since": _written(self.running_since),
            "last_drill": _run_json(self.last_drill, now),
        }


@dataclass(frozen=True, kw_only=True)
class IncidentStatus:
    """One open incident, and the one thing to do about it now."""

    id: str
    scenario: str
    mode: str
    opened_at: datetime
    untold: int
    next_step: str
    is_over: bool  # it only has to be closed

    def as_json(self) -> JsonObject:
        """Give the incident for `--json`."""
        return {
            "incident": self.id,
            "scenario": self.scenario,
            "mode": self.mode,
            "opened_at": timestamp(self.opened_at),
            "untold": self.untold,
            "next_step": self.next_step,
        }


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything at one moment."""

    at: datetime
    sets: tuple[SetStatus, ...]
    incidents: tuple[IncidentStatus, ...]
    events: int
    signed_events: int
    signed_at: datetime | None
    has_serve: bool
    verify_failed: datetime | None = None  # when, unless a newer verification found all whole

    @property
    def untold(self) -> int:
        """People whom a notice of an open incident has not reached."""
        return sum(incident.untold for incident in self.incidents)

    @property
    def next_step(self) -> str:
        """The one thing to do first, or nothing; an incident goes before a backup."""
        for incident in self.incidents:
            return f"{incident.id}: {incident.next_step}"
        if self.verify_failed:
            return "`standfast backup verify --read`: the last verification did not end well."
        for one in self.sets:
            if one.last_backup is None:
                return f"`standfast backup run {one.name}`: it has never been backed up."
            if one.last_failed:
                return f"`standfast backup run {one.name}`: the last one failed."
            if one.last_drill is None:
                return f"`standfast drill run {one.name} --identity FILE`: does it come back?"
        return ""

    def as_json(self) -> JsonObject:
        """Give all of it for `--json`."""
        return {
            "at": timestamp(self.at),
            "sets": [one.as_json(self.at) for one in self.sets],
            "incidents": [incident.as_json() for incident in self.incidents],
            "untold": self.untold,
            "ledger": {
                "events": self.events,
                "signed_events": self.signed_events,
                "signed_at": _written(self.signed_at),
            },
            "verify_failed_since": _written(self.verify_failed),
            "serve": self.has_serve,
            "next_step": self.next_step,
        }


def look(config_file: Path, env: Mapping[str, str], now: datetime) -> Status:
    """Say where the place of this configuration stands.

    Raises what `config.load` and `ledger.glance` raise.
    """
    raw = _read(config_file)
    folder = config_file.absolute().parent
    url, password, sets = _needed(raw, folder) or _by_schema(config_file, env)
    seen = glance(url, password, now)
    return Status(
        at=now,
        sets=tuple(_set_status(name, seen) for name in sets),
        incidents=tuple(sorted(map(_incident_status, seen.incidents), key=_urgency)),
        events=seen.events,
        signed_events=seen.signed_events,
        signed_at=seen.signed_at,
        has_serve=seen.serves > 0,
        verify_failed=_verify_failed(seen),
    )


def _urgency(incident: IncidentStatus) -> tuple[bool, bool]:
    """What is live goes before an exercise; of each, what only has to be closed goes last."""
    return (incident.mode != "live", incident.is_over)


def _verify_failed(seen: Glance) -> datetime | None:
    runs = {run.state: run for run in seen.last_runs if run.kind == "verify"}
    failed, good = runs.get("failed"), runs.get("done")
    return failed.started_at if failed and _is_newer(failed, good) else None


def _read(config_file: Path) -> dict[str, Any]:
    """Parse the file, or give nothing when it is no TOML: the schema then says what is wrong."""
    try:
        return tomllib.loads(config_file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"the configuration {config_file} cannot be read: {error.strerror}; mend its path or "
            "its mode"
        ) from None
    except ValueError:
        return {}


def _needed(raw: Mapping[str, Any], folder: Path) -> tuple[str, None, list[str]] | None:
    """Give the ledger's address and the names of the sets where they are written plainly."""
    ledger = raw.get("ledger", {})
    backup = raw.get("backup", {})
    if "organisation" not in raw or not isinstance(ledger, dict) or not isinstance(backup, dict):
        return None
    url, sets = ledger.get("url", "sqlite:///ledger.db"), backup.get("sets", {})
    if not isinstance(url, str) or not isinstance(sets, dict) or "password" in ledger:
        return None
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        return None if path.startswith("~") else (f"sqlite:///{folder / path}", None, list(sets))
    return (url, None, list(sets)) if url.startswith("postgresql") else None


def _by_schema(config_file: Path, env: Mapping[str, str]) -> tuple[str, str | None, list[str]]:
    from standfast.config import load
    from standfast.secrets import SystemResolver

    config = load(config_file)
    reference, password = config.ledger.password, None
    if reference is not None:
        resolver = SystemResolver(env=env, base_dir=config.folder)
        password = resolver.resolve(reference).reveal()
    return config.ledger.url, password, list(config.backup.sets)


def _set_status(name: str, seen: Glance) -> SetStatus:
    backups = {run.state: run for run in seen.last_runs if _is(run, "backup", name)}
    drills = [run for run in seen.last_runs if _is(run, "drill", name) and run.state in _GOOD]
    good = [backups[state] for state in _GOOD if state in backups]
    last = max(good, key=lambda run: run.started_at, default=None)
    failed, running = backups.get("failed"), backups.get("running")
    return SetStatus(
        name=name,
        last_backup=last,
        last_failed=failed.started_at if failed and _is_newer(failed, last) else None,
        running_since=running.started_at if running and _is_newer(running, last) else None,
        last_drill=max(drills, key=lambda run: run.started_at, default=None),
    )


def _is(run: LastRun, kind: str, name: str) -> bool:
    return (run.kind, run.subject) == (kind, name)


def _is_newer(run: LastRun, than: LastRun | None) -> bool:
    return than is None or run.started_at > than.started_at


def _incident_status(seen: IncidentGlance) -> IncidentStatus:
    # Half of what status may take, so it waits until there is an incident.
    from standfast.playbook.engine import State
    from standfast.playbook.load import load
    from standfast.playbook.standing import standing
    from standfast.records import Mode

    playbook = load(seen.playbook, seen.scenario)
    names = {step.name for step in playbook.steps}
    views = [_view(step) for step in seen.steps]
    state = State(
        playbook=playbook,
        mode=Mode(seen.mode),
        steps={view.step: view for view in views if view.step in names},
        extra=tuple(view for view in views if view.step not in names),
        is_halted=seen.is_halted,
        incident=seen.id,
    )
    found = standing(state)
    return IncidentStatus(
        id=seen.id,
        scenario=seen.scenario,
        mode=seen.mode,
        opened_at=seen.opened_at,
        untold=seen.untold,
        next_step=found.next_step,
        is_over=found.is_over,
    )


def _view(step: StepGlance) -> "StepView":
    from standfast.playbook.engine import Counts, StepView
    from standfast.records import StepState

    return StepView(
        step=step.name,
        round=step.round,
        state=StepState(step.state),
        counts=Counts(**step.counts),
        settling=step.settling,
        # What was answered is sealed; that it was is all that a standing needs.
        answer="" if step.has_answer else None,
        due_at=step.due_at,
        asked=step.is_asked,
        # A step that has enough approvals runs already: one that asks lacks some.
        approvals=0,
        approvals_needed=step.needs_approvals,
        is_refused=step.state == StepState.REFUSED,
        is_accepted=step.is_accepted,
    )


def _run_json(run: LastRun | None, now: datetime) -> Json:
    if run is None:
        return None
    return {
        "state": run.state,
        "started_at": timestamp(run.started_at),
        "ended_at": _written(run.ended_at),
        "age_seconds": int((now - run.started_at) / timedelta(seconds=1)),
    }


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
