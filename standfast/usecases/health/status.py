"""Quick status from one query: late backups, last runs, problems.

A drill is a test restore of a backup set.

Rules
- `standfast status` answers within 0.5 s. Therefore it parses only the needed settings of the
  configuration, and reads the ledger (the installation's database) by one query.
- An invalid configuration, which other commands reject, is reported first. The status then shows as
  much as possible.
- The status reads no private key. It shows no personal data, only counts and the names of backup
  sets and steps.
- The next step of an incident is the sentence that `standfast incident status` prints.
"""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from backup.errors import BackupError
from backup.ownership.key_copy_list import read_copy_list
from backup.records import INSTALLATION_SET
from standfast.config import load
from standfast.errors import ConfigurationError, FileInvalid
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin
from standfast.ledger.status_overview import LastRun, LedgerOverview
from standfast.ledger.status_query import query_status
from standfast.local_time import is_zone
from standfast.secrets import SystemResolver
from standfast.usecases.alarms.alarm_status import JUMP_SHOWN, alarms_of
from standfast.usecases.backups.cloned_hosts import find_cloned_host, forked_at
from standfast.usecases.core.installation import ledger_url
from standfast.usecases.core.run_origins import vault_id_of_keys
from standfast.usecases.health.disk_space import DiskSpace, disk_spaces
from standfast.usecases.health.status_record import (
    DeadLetters,
    SetStatus,
    Status,
    UnnotifiedTrigger,
    UnstampedEvidence,
)
from standfast.usecases.key_ceremonies.custodian_answers import (
    CustodianStatus,
    custodian_statuses,
    folder_of,
)

_GOOD = ("done", "partial")
_Runs: TypeAlias = dict[str, LastRun]  # by state
if TYPE_CHECKING:
    from standfast.usecases.health.incident_overview import IncidentStatus

_SQLITE = "sqlite:///"
_TRIGGER = "trigger:"  # prefix of `opened_by` for an incident that a trigger opened


def look(config_file: Path, env: Mapping[str, str], now: datetime) -> Status:
    """Return the status of the installation with this configuration.

    Raise the errors of `config.loader` and of the ledger's status query.
    """
    raw = _read(config_file)
    folder = config_file.absolute().parent
    url, sets = _needed(raw, folder) or _by_schema(config_file, env)
    own = _origin(raw, folder)
    seen = query_status(url, now, own)
    cloned_host = find_cloned_host(seen.backups, own, now)
    return Status(
        at=now,
        sets=_set_statuses(sets, seen),
        incidents=_incidents(seen, config_file, raw, now),
        time_zone=zone_of(raw),
        events=seen.events,
        signed_events=seen.signed_events,
        signed_at=seen.signed_at,
        has_serve=bool(seen.serve_hosts),
        serves_here=host_name() in seen.serve_hosts,
        verify_failed=_verify_failed(seen),
        custodians=_overdue(raw, folder, now),
        alarms=alarms_of(seen, own, now),
        unnotified_triggers=tuple(_unnotified_triggers(seen)),
        dead_letters=tuple(
            DeadLetters(trigger=run.subject, count=run.count, last=run.started_at)
            for run in seen.last_runs
            if (run.kind, run.state) == ("alert", "failed") and now - run.started_at <= JUMP_SHOWN
        ),
        unstamped=_unstamped(raw, folder),
        low_space=_low_space(url, raw, folder),
        cloned_host=cloned_host,
        forked_at=None if cloned_host else forked_at(seen.backups, own, now),
        misconfigured=_misconfigured(config_file),
        vault=_vault(raw, folder),
        key_copies=_key_copies(raw, folder),
    )


def _incidents(
    seen: LedgerOverview, config_file: Path, raw: Mapping[str, Any], now: datetime
) -> tuple["IncidentStatus", ...]:
    if not (seen.incidents or seen.closed):
        return ()
    # Imported here: it loads playbooks and legal clocks, which takes a third of the time of
    # `status`.
    from standfast.usecases.health.incident_overview import incidents_of

    return incidents_of(seen, config_file, raw, zone_of(raw), now)


def zone_of(raw: Mapping[str, Any]) -> str:
    """Return the time zone for display; UTC if the file has no valid zone."""
    organisation = raw.get("organisation", {})
    zone = organisation.get("time_zone", "UTC") if isinstance(organisation, Mapping) else "UTC"
    return zone if isinstance(zone, str) and is_zone(zone) else "UTC"


def _vault(raw: Mapping[str, Any], folder: Path) -> str:
    backup = raw.get("backup", {})
    bucket = backup.get("s3") if isinstance(backup, dict) else None
    if isinstance(bucket, dict):
        return f"bucket {bucket.get('bucket', '')}"
    return str(folder / _written_path(backup, "vault", "vault"))


def _key_copies(raw: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Return the names of the known copies of the key records.

    Key records are encrypted private keys, which a restore needs. If they cannot be read, return
    ().
    """
    keys = folder / _written_path(raw.get("backup", {}), "keys", "keys/store")
    try:
        return tuple(copy.name for copy in read_copy_list(keys).known)
    except BackupError:
        return ()  # `standfast check` reports the error


def _written_path(backup: object, key: str, default: str) -> Path:
    written = backup.get(key, default) if isinstance(backup, dict) else default
    return Path(written if isinstance(written, str) else default).expanduser()


def _misconfigured(config_file: Path) -> str:
    """Return the first configuration error, and the number of further errors."""
    try:
        load(config_file)
    except FileInvalid as error:
        first, *more = error.problems
        position = f"{config_file.name}:{first.line}" if first.line else config_file.name
        return f"{position}: {first.message}" + (f", and {len(more)} more" if more else "")
    return ""


def _origin(raw: Mapping[str, Any], folder: Path) -> Origin:
    """Return host, machine and vault of this installation.

    Like `origin_of`, but from settings that are not validated.
    """
    backup = raw.get("backup", {})
    keeping = backup.get("keeping", {})
    keeper = keeping.get("key") if isinstance(keeping, dict) else None
    host = folder / Path(str(backup.get("host", "keys/backup-host"))).expanduser()
    return Origin(
        host=str(backup.get("writer", "host-1")),
        machine=host_name(),
        vault=vault_id_of_keys(host, folder / Path(str(keeper or "keys/keeper.json")).expanduser()),
    )


def _unnotified_triggers(seen: LedgerOverview) -> Iterator[UnnotifiedTrigger]:
    """Yield the triggers of open incidents with an undelivered last page.

    A page is a message to a person on call. If a stopped incident was joined by later alerts,
    include every trigger, because each alert may come from any trigger.
    """
    pages = {(run.subject, run.state): run for run in seen.last_runs if run.kind == "page"}
    opened_by = dict.fromkeys(incident.opened_by for incident in seen.incidents)
    names = {
        opener.removeprefix(_TRIGGER): None for opener in opened_by if opener.startswith(_TRIGGER)
    }
    if any(incident.is_stopped and incident.joined for incident in seen.incidents):
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


def _overdue(raw: Mapping[str, Any], folder: Path, now: datetime) -> tuple[CustodianStatus, ...]:
    send_log = _send_log(raw, folder)
    found = custodian_statuses(folder_of(send_log)) if send_log else ()
    return tuple(custodian for custodian in found if custodian.is_overdue(now))


def _send_log(raw: Mapping[str, Any], folder: Path) -> Path | None:
    """Return the path of the upload cache, if the setting is a plain path."""
    backup = raw.get("backup", {})
    send_log = backup.get("send_log", "state/send-log.db") if isinstance(backup, dict) else ""
    if not isinstance(send_log, str) or not send_log or send_log.startswith("~"):
        return None
    return folder / send_log


def _unstamped(raw: Mapping[str, Any], folder: Path) -> UnstampedEvidence | None:
    """Count the evidence folders without a time stamp; None if there is none.

    Also return None if they cannot be read.
    """
    custody = raw.get("custody", {})
    if not isinstance(custody, dict) or "timestamp" not in custody:
        return None
    written = custody.get("folder", "evidence")
    if not isinstance(written, str) or written.startswith("~"):
        return None
    sealed = list((folder / written).glob("*/*/*/seal.dsse.json"))
    whole = [seal for seal in sealed if seal.parent.suffix != ".partial"]
    unstamped = [seal for seal in whole if not seal.with_name("seal.tsr").exists()]
    if not unstamped:
        return None
    try:
        since, first = min((seal.stat().st_mtime, seal) for seal in unstamped)
    except OSError:
        return None  # only the user that owns the evidence folder can read it
    return UnstampedEvidence(
        count=len(unstamped),
        incident=first.parents[2].name,
        since=datetime.fromtimestamp(since, UTC),
    )


def _low_space(url: str, raw: Mapping[str, Any], folder: Path) -> tuple[DiskSpace, ...]:
    written = {"upload cache": _send_log(raw, folder)}
    if url.startswith(_SQLITE):
        written = {"ledger": Path(url.removeprefix(_SQLITE)), **written}
    try:
        found = [*disk_spaces({name: path for name, path in written.items() if path})]
    except OSError:
        return ()  # `standfast check` examines all disks and reports the error
    return tuple(space for space in found if space.is_little)


def _read(config_file: Path) -> dict[str, Any]:
    """Parse the file; return {} for invalid TOML, which the loader reports."""
    try:
        return tomllib.loads(config_file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"configuration {config_file}: cannot be read: {error.strerror}. Correct its path or "
            "its mode."
        ) from None
    except ValueError:
        return {}


def _needed(raw: Mapping[str, Any], folder: Path) -> tuple[str, list[str]] | None:
    """Return the ledger's address and the sets, if they need no secret."""
    ledger = raw.get("ledger", {})
    backup = raw.get("backup", {})
    if "organisation" not in raw or not isinstance(ledger, dict) or not isinstance(backup, dict):
        return None
    url, sets = ledger.get("url", "sqlite:///ledger.db"), backup.get("sets", {})
    own = [INSTALLATION_SET] if "installation" in backup else []
    if not isinstance(url, str) or not isinstance(sets, dict) or "password" in ledger:
        return None
    if url.startswith(_SQLITE):
        path = url.removeprefix(_SQLITE)
        return None if path.startswith("~") else (f"{_SQLITE}{folder / path}", [*sets, *own])
    return (url, [*sets, *own]) if url.startswith("postgresql") else None


def _by_schema(config_file: Path, env: Mapping[str, str]) -> tuple[str, list[str]]:
    config = load(config_file)
    url = ledger_url(config, SystemResolver(env=env, base_dir=config.folder))
    return url, list(config.backup.sets)


def _set_statuses(names: Iterable[str], seen: LedgerOverview) -> tuple[SetStatus, ...]:
    """Return the status of each set, from one pass over all runs."""
    backups, drills = defaultdict[str, _Runs](dict), defaultdict[str, _Runs](dict)
    for run in seen.last_runs:
        if run.kind == "drill" and not run.is_of_other_vault:
            drills[run.subject][run.state] = run
        elif run.kind == "backup" and not (run.is_of_other_vault or run.is_of_other_host):
            backups[run.subject][run.state] = run
    return tuple(_set_status(name, backups[name], drills[name]) for name in names)


def _set_status(name: str, backups: _Runs, drills: _Runs) -> SetStatus:
    last, last_drill = last_success(backups), last_success(drills)
    running = backups.get("running")
    return SetStatus(
        name=name,
        last_backup=last,
        last_failed=backups["failed"].started_at if has_failed(backups) else None,
        running_since=running.started_at if running and _is_newer(running, last) else None,
        last_drill=last_drill,
        drill_failed=drills["failed"].started_at if has_failed(drills) else None,
    )


def last_success(runs: Mapping[str, LastRun]) -> LastRun | None:
    """Return the newest run that is done or partial, from runs by state."""
    good = [runs[state] for state in _GOOD if state in runs]
    return max(good, key=lambda run: run.started_at, default=None)


def has_failed(runs: Mapping[str, LastRun]) -> bool:
    """Return whether the newest failure is newer than the last success."""
    failed = runs.get("failed")
    return failed is not None and _is_newer(failed, last_success(runs))


def _is_newer(run: LastRun, than: LastRun | None) -> bool:
    return than is None or run.started_at > than.started_at
