"""Where everything stands, in a moment: last backups and drills, open incidents, who is untold.

Owns the few lines that `standfast status` shows. Leaves the open incidents to `incident_glances`,
alarms to `alarm_glances`, trying things out to `checks`, and one incident in full to `incident`.

Rules
- It answers within 0.5 s, so it reads the few keys of the configuration that it needs by itself.
- With a configuration that every other command refuses, it shows what it can, and says that first.
- It opens no key and shows nothing personal: counts, names of sets and steps.
- The one next step of an incident is the sentence that `standfast incident status` says.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backup.errors import BackupError
from backup.ownership.key_copy_list import read_copy_list
from standfast.errors import ConfigurationError, FileInvalid
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin
from standfast.ledger.status_overview import LastRun, LedgerOverview
from standfast.ledger.status_query import query_status
from standfast.records import Json, JsonObject, timestamp
from standfast.usecases.alarms.alarm_status import JUMP_SHOWN, AlarmStatus, alarms_of
from standfast.usecases.backups.cloned_hosts import ClonedHost, find_cloned_host, forked_at
from standfast.usecases.core.run_origins import vault_id_of_keys
from standfast.usecases.health.disk_space import Room, rooms
from standfast.usecases.health.incident_overview import IncidentStatus, incidents_of, zone_of
from standfast.usecases.key_ceremonies.custodian_answers import Standing, folder_of, standings

_GOOD = ("done", "partial")
_SQLITE = "sqlite:///"
_TRIGGER = "trigger:"  # who opened it, where that was no person


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """How one backup set was last backed up and drilled."""

    name: str
    last_backup: LastRun | None  # the newest that gave a recovery point
    last_failed: datetime | None  # when a newer one failed
    running_since: datetime | None
    last_drill: LastRun | None  # the newest that brought something back
    drill_failed: datetime | None  # when a newer one failed

    def as_json(self, now: datetime) -> JsonObject:
        """Give the set for `--json`."""
        return {
            "set": self.name,
            "last_backup": _run_json(self.last_backup, now),
            "failed_since": _written(self.last_failed),
            "running_since": _written(self.running_since),
            "last_drill": _run_json(self.last_drill, now),
            "drill_failed_since": _written(self.drill_failed),
        }


@dataclass(frozen=True, kw_only=True)
class UnnotifiedTrigger:
    """A trigger whose last page, about something that is still open, reached nobody."""

    name: str
    since: datetime

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {"trigger": self.name, "since": timestamp(self.since)}


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """Alerts of a trigger that could not be dealt with, and were kept."""

    trigger: str
    count: int  # of all times
    last: datetime

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {"trigger": self.trigger, "count": self.count, "last": timestamp(self.last)}


@dataclass(frozen=True, kw_only=True)
class UnstampedEvidence:
    """Sealed evidence that has no time stamp yet, though an authority is set."""

    count: int
    incident: str  # of the one that was sealed first
    since: datetime  # when that was

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            "count": self.count,
            "incident": self.incident,
            "since": timestamp(self.since),
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
    serves_here: bool  # on this machine: another's backs nothing up from here
    verify_failed: datetime | None = None  # when, unless a newer verification found all whole
    custodians: tuple[Standing, ...] = ()  # those of whom no sign came for too long
    alarms: tuple[AlarmStatus, ...] = ()
    untold_triggers: tuple[UnnotifiedTrigger, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    unstamped: UnstampedEvidence | None = None
    little_room: tuple[Room, ...] = ()  # the disks under the ledger and the state that lack room
    time_zone: str = "UTC"  # that of the people who read it
    twin: ClonedHost | None = None  # another machine that backs up under this host's name
    forked_at: datetime | None = None  # the vault then had a point that this machine had not made
    misconfigured: str = ""  # why the other commands refuse the configuration
    vault: str = ""  # where it is, as people write it
    key_copies: tuple[str, ...] = ()  # names of the known copies of the key records

    @property
    def untold(self) -> int:
        """People whom a notice of an open incident has not reached."""
        return sum(incident.untold for incident in self.incidents)

    @property
    def next_step(self) -> str:
        """The one thing to do first, or nothing; an incident goes before a backup.

        Room and a configuration that is taken go before all: without them nothing of an incident
        gets on.
        """
        for room in self.little_room:
            if room.is_full:
                return f"Make room now: {room.sentence}."
        if self.misconfigured:
            return "`standfast check`: it names every error in the configuration; fix them."
        for incident in self.incidents:
            return f"{incident.id}: {incident.next_step}"
        if self.verify_failed:
            return "`standfast backup verify --read`: the last verification did not end well."
        if self.twin and self.twin.is_sure:
            return (
                "`standfast check`: two machines back up under one name; it says how to part them."
            )
        for alarm in self.alarms:
            if alarm.what == "jump" and not alarm.host:
                return f"`{alarm.command}`: {alarm.sentence}."
        for one in self.sets:
            if one.last_backup is None:
                return f"`standfast backup run {one.name}`: it has never been backed up."
            if one.last_failed:
                return f"`standfast backup run {one.name}`: the last one failed."
        for one in self.sets:
            if one.drill_failed:
                return f"`standfast drill run {one.name} --identity FILE`: the last one failed."
        for one in self.sets:
            if one.last_drill is None:
                return f"`standfast drill run {one.name} --identity FILE`: does it come back?"
        for alarm in self.alarms:
            there = ", to be run there" if alarm.host else ""
            return f"`{alarm.command}`{there}: {alarm.sentence}."
        if self.unstamped:
            return f"`standfast evidence stamp {self.unstamped.incident}`: it has no time stamp."
        for one in self.sets:
            if _is_partial(one.last_backup):
                return (
                    f"`standfast backup run {one.name}`: the last one was partial and names what "
                    "it lacks; fix that first."
                )
            if _is_partial(one.last_drill):
                return (
                    f"`standfast drill run {one.name} --identity FILE`: the last one fell short, "
                    "and says of what."
                )
        if self.custodians:
            return "`standfast backup custodian challenge new --to FILE`: do their keys still open?"
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
            "custodians_overdue": [one.as_json(self.at) for one in self.custodians],
            "alarms": [alarm.as_json() for alarm in self.alarms],
            "untold_triggers": [trigger.as_json() for trigger in self.untold_triggers],
            "set_aside": [one.as_json() for one in self.set_aside],
            "unstamped": self.unstamped.as_json() if self.unstamped else None,
            "little_room": [
                {"for": list(room.names), "free_bytes": room.free_bytes, "is_full": room.is_full}
                for room in self.little_room
            ],
            "misconfigured": self.misconfigured or None,
            "restore_takes": {
                "vault": self.vault,
                "key_records": list(self.key_copies),
                "identity": "a custodian's",
            },
            "twin": None if self.twin is None else self.twin.as_json(),
            "forked_at": _written(self.forked_at),
            "serve": self.has_serve,
            "serve_here": self.serves_here,
            "next_step": self.next_step,
        }


def look(config_file: Path, env: Mapping[str, str], now: datetime) -> Status:
    """Say where the place of this configuration stands.

    Raises what `config.load` and `query_status` raise.
    """
    raw = _read(config_file)
    folder = config_file.absolute().parent
    url, sets = _needed(raw, folder) or _by_schema(config_file, env)
    own = _origin(raw, folder)
    seen = query_status(url, now, own)
    twin = find_cloned_host(seen.backups, own, now)
    return Status(
        at=now,
        sets=tuple(_set_status(name, seen) for name in sets),
        incidents=incidents_of(seen, config_file, raw, now),
        time_zone=zone_of(raw),
        events=seen.events,
        signed_events=seen.signed_events,
        signed_at=seen.signed_at,
        has_serve=bool(seen.serve_hosts),
        serves_here=host_name() in seen.serve_hosts,
        verify_failed=_verify_failed(seen),
        custodians=_overdue(raw, folder, now),
        alarms=alarms_of(seen, own, now),
        untold_triggers=tuple(_untold_triggers(seen)),
        set_aside=tuple(
            SetAside(trigger=run.subject, count=run.count, last=run.started_at)
            for run in seen.last_runs
            if (run.kind, run.state) == ("alert", "failed") and now - run.started_at <= JUMP_SHOWN
        ),
        unstamped=_unstamped(raw, folder),
        little_room=_little_room(url, raw, folder),
        twin=twin,
        forked_at=None if twin else forked_at(seen.backups, own, now),
        misconfigured=_misconfigured(config_file),
        vault=_vault(raw, folder),
        key_copies=_key_copies(raw, folder),
    )


def _vault(raw: Mapping[str, Any], folder: Path) -> str:
    backup = raw.get("backup", {})
    bucket = backup.get("s3") if isinstance(backup, dict) else None
    if isinstance(bucket, dict):
        return f"bucket {bucket.get('bucket', '')}"
    return str(folder / _written_path(backup, "vault", "vault"))


def _key_copies(raw: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Return the names in the key store's list of copies; none when it cannot be read."""
    keys = folder / _written_path(raw.get("backup", {}), "keys", "keys/store")
    try:
        return tuple(one.name for one in read_copy_list(keys).known)
    except BackupError:
        return ()  # `standfast check` says what is wrong with it


def _written_path(backup: object, key: str, default: str) -> Path:
    written = backup.get(key, default) if isinstance(backup, dict) else default
    return Path(written if isinstance(written, str) else default).expanduser()


def _misconfigured(config_file: Path) -> str:
    """Say what is wrong first, and how much more is."""
    from standfast.config import load

    try:
        load(config_file)
    except FileInvalid as error:
        first, *more = error.problems
        place = f"{config_file.name}:{first.line}" if first.line else config_file.name
        return f"{place}: {first.message}" + (f", and {len(more)} more" if more else "")
    return ""


def _origin(raw: Mapping[str, Any], folder: Path) -> Origin:
    """Say where a run would be made, as `origins.origin_of`, where that is written plainly."""
    backup = raw.get("backup", {})
    keeping = backup.get("keeping", {})
    keeper = keeping.get("key") if isinstance(keeping, dict) else None
    host = folder / Path(str(backup.get("host", "keys/backup-host"))).expanduser()
    return Origin(
        host=str(backup.get("writer", "host-1")),
        machine=host_name(),
        vault=vault_id_of_keys(host, folder / Path(str(keeper or "keys/keeper.json")).expanduser()),
    )


def _untold_triggers(seen: LedgerOverview) -> Iterator[UnnotifiedTrigger]:
    """Give the triggers whose newest page reached nobody, while what it told of may be open.

    What one brought to a stopped incident may have been opened by anybody.
    """
    pages = {(run.subject, run.state): run for run in seen.last_runs if run.kind == "page"}
    opened_by = dict.fromkeys(one.opened_by for one in seen.incidents)
    names = {who.removeprefix(_TRIGGER): None for who in opened_by if who.startswith(_TRIGGER)}
    if any(one.is_halted and one.joined for one in seen.incidents):
        names |= dict.fromkeys(name for name, _ in pages)
    for name in names:
        failed = pages.get((name, "failed"))
        if failed and _is_newer(failed, pages.get((name, "raised"))):
            yield UnnotifiedTrigger(name=name, since=failed.started_at)


def _verify_failed(seen: LedgerOverview) -> datetime | None:
    runs = {
        run.state: run
        for run in seen.last_runs
        if run.kind == "verify" and not run.is_of_other_vault
    }
    failed, good = runs.get("failed"), runs.get("done")
    return failed.started_at if failed and _is_newer(failed, good) else None


def _overdue(raw: Mapping[str, Any], folder: Path, now: datetime) -> tuple[Standing, ...]:
    send_log = _send_log(raw, folder)
    found = standings(folder_of(send_log)) if send_log else ()
    return tuple(one for one in found if one.is_overdue(now))


def _send_log(raw: Mapping[str, Any], folder: Path) -> Path | None:
    """Give where the state is, where that is written plainly."""
    backup = raw.get("backup", {})
    send_log = backup.get("send_log", "state/send-log.db") if isinstance(backup, dict) else ""
    if not isinstance(send_log, str) or not send_log or send_log.startswith("~"):
        return None
    return folder / send_log


def _unstamped(raw: Mapping[str, Any], folder: Path) -> UnstampedEvidence | None:
    """Find sealed folders without a stamp, where an authority is set; None for none to be seen."""
    custody = raw.get("custody", {})
    if not isinstance(custody, dict) or "timestamp" not in custody:
        return None
    written = custody.get("folder", "evidence")
    if not isinstance(written, str) or written.startswith("~"):
        return None
    sealed = list((folder / written).glob("*/*/*/seal.dsse.json"))
    whole = [one for one in sealed if one.parent.suffix != ".partial"]
    left = [one for one in whole if not one.with_name("seal.tsr").exists()]
    if not left:
        return None
    try:
        since, first = min((one.stat().st_mtime, one) for one in left)
    except OSError:
        return None  # whoever owns it is told
    return UnstampedEvidence(
        count=len(left),
        incident=first.parents[2].name,
        since=datetime.fromtimestamp(since, UTC),
    )


def _little_room(url: str, raw: Mapping[str, Any], folder: Path) -> tuple[Room, ...]:
    written = {"send-log": _send_log(raw, folder)}
    if url.startswith(_SQLITE):
        written = {"ledger": Path(url.removeprefix(_SQLITE)), **written}
    try:
        found = [*rooms({name: path for name, path in written.items() if path})]
    except OSError:
        return ()  # `standfast check` looks at all of it, and says what is wrong there
    return tuple(room for room in found if room.is_little)


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


def _needed(raw: Mapping[str, Any], folder: Path) -> tuple[str, list[str]] | None:
    """Give the ledger's address and the names of the sets where they are written plainly."""
    ledger = raw.get("ledger", {})
    backup = raw.get("backup", {})
    if "organisation" not in raw or not isinstance(ledger, dict) or not isinstance(backup, dict):
        return None
    url, sets = ledger.get("url", "sqlite:///ledger.db"), backup.get("sets", {})
    if not isinstance(url, str) or not isinstance(sets, dict) or "password" in ledger:
        return None
    if url.startswith(_SQLITE):
        path = url.removeprefix(_SQLITE)
        return None if path.startswith("~") else (f"{_SQLITE}{folder / path}", list(sets))
    return (url, list(sets)) if url.startswith("postgresql") else None


def _by_schema(config_file: Path, env: Mapping[str, str]) -> tuple[str, list[str]]:
    from standfast.config import load
    from standfast.secrets import SystemResolver
    from standfast.usecases.core.installation import ledger_url

    config = load(config_file)
    url = ledger_url(config, SystemResolver(env=env, base_dir=config.folder))
    return url, list(config.backup.sets)


def _set_status(name: str, seen: LedgerOverview) -> SetStatus:
    backups = {
        run.state: run
        for run in seen.last_runs
        if _is(run, "backup", name) and not run.is_of_other_host
    }
    drills = {run.state: run for run in seen.last_runs if _is(run, "drill", name)}
    last, last_drill = _newest_good(backups), _newest_good(drills)
    failed, running = backups.get("failed"), backups.get("running")
    drill_failed = drills.get("failed")
    return SetStatus(
        name=name,
        last_backup=last,
        last_failed=failed.started_at if failed and _is_newer(failed, last) else None,
        running_since=running.started_at if running and _is_newer(running, last) else None,
        last_drill=last_drill,
        drill_failed=(
            drill_failed.started_at
            if drill_failed and _is_newer(drill_failed, last_drill)
            else None
        ),
    )


def _newest_good(runs: Mapping[str, LastRun]) -> LastRun | None:
    good = [runs[state] for state in _GOOD if state in runs]
    return max(good, key=lambda run: run.started_at, default=None)


def _is(run: LastRun, kind: str, name: str) -> bool:
    return (run.kind, run.subject) == (kind, name) and not run.is_of_other_vault


def _is_newer(run: LastRun, than: LastRun | None) -> bool:
    return than is None or run.started_at > than.started_at


def _is_partial(run: LastRun | None) -> bool:
    return run is not None and run.state == "partial"


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
