"""Metrics of an installation for Prometheus.

Rules
- A metric is a count, a size, an age or a time. Its labels are names from the configuration and
  words of this program, never a person, an account or an incident.
- The metrics of effects (changes of single targets, such as a locked account), notices and legal
  clocks count only incidents that act on real systems.
- Quiet incidents, which only certain roles may see, are not counted in any metric, because every
  reader of a dashboard would learn of them.
- Every metric is exported even if it has no values, so that an alert rule about it can be tested.
- Times are in seconds since 1970, ages in seconds, and sizes in bytes, as Prometheus recommends.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from standfast.ledger.effects.effect_counts import count_open_effects
from standfast.ledger.status_overview import (
    ClosedIncidentOverview,
    IncidentOverview,
    LastRun,
    LedgerOverview,
)
from standfast.ledger.status_query import query_status
from standfast.playbook.actions.notices_send import SEND
from standfast.records import DeliveryState, EffectState, Mode, StepState
from standfast.usecases.alarms.alarm_status import alarms_of
from standfast.usecases.alarms.recovery_point_age import freshness
from standfast.usecases.core.incident_visibility import is_quiet
from standfast.usecases.core.installation import Installation, ledger_url
from standfast.usecases.core.run_origins import origin_of, runs_of_host
from standfast.usecases.health.incident_overview import count_clocks
from standfast.usecases.health.status import has_failed, last_success

_Labels = tuple[str, ...]


def measure(installation: Installation) -> Iterator[Metric]:
    """Yield all metrics with their present values.

    If the ledger (the installation's database) cannot be read, raise its error. Prometheus then
    reports a failed scrape. A wrong number instead of an error would remain unnoticed.
    """
    config, now = installation.config, installation.clock()
    own = origin_of(config)
    seen = query_status(ledger_url(config, installation.resolver), now, own)
    yield from _backups(installation, seen, now)
    yield from _drills(seen, now)
    yield _gauge(
        "alarms",
        "Open alarms, by kind.",
        ("kind",),
        Counter((alarm.kind,) for alarm in alarms_of(seen, own, now)),
    )
    yield from _incidents(installation, seen)
    yield from _clocks(installation, seen, now)
    yield _gauge(
        "serve_hosts",
        "Hosts on which a `standfast serve` is alive.",
        (),
        {(): len(seen.serve_hosts)},
    )
    written: dict[_Labels, float] = {}
    for witness, file in (("ledger", config.ledger.witness), ("backup", config.backup.witness)):
        with suppress(OSError):  # `standfast check` reports a witness file that cannot be read
            written[witness,] = now.timestamp() - file.stat().st_mtime
    yield _gauge(
        "witness_age_seconds",
        "Time since the witness was written: signed heads of the ledger, or verified heads of "
        "the vault.",
        ("witness",),
        written,
    )


def _backups(installation: Installation, seen: LedgerOverview, now: datetime) -> Iterator[Metric]:
    config = installation.config
    sets = config.backup.sets
    runs = [run for run in seen.last_runs if run.kind == "backup" and not run.is_of_other_host]
    yield from _successes("backup", "set", "backup of a set", runs, sets, now)
    fresh = [freshness(installation, name) for name in sets]
    yield _gauge(
        "backup_complete_age_seconds",
        "Age of the data in the newest complete recovery point; without one, the time since the "
        "first attempt.",
        ("set",),
        {(row.set_name,): row.age.total_seconds() for row in fresh if row.age is not None},
    )
    yield _gauge(
        "backup_max_age_seconds",
        "Age of the newest complete recovery point that raises an alarm.",
        ("set",),
        {(row.set_name,): row.limit.total_seconds() for row in fresh},
    )
    sizes: dict[_Labels, float] = {}
    for run in reversed(runs_of_host(config, seen.backups)):  # the newest run overwrites the others
        for part in ("total", "new", "changed"):
            if run.subject in sets and f"bytes_{part}" in run.summary:
                sizes[run.subject, part] = float(run.summary[f"bytes_{part}"])
    yield _gauge(
        "backup_bytes",
        "Bytes in the newest recovery point of the last week, and how many of them were new or "
        "changed.",
        ("set", "part"),
        sizes,
    )


def _drills(seen: LedgerOverview, now: datetime) -> Iterator[Metric]:
    runs = [run for run in seen.last_runs if run.kind == "drill" and not run.is_of_other_vault]
    names = {run.subject for run in runs}
    yield from _successes("drill", "drill", "drill of a set or a service", runs, names, now)


def _successes(
    kind: str, label: str, title: str, runs: Iterable[LastRun], names: Iterable[str], now: datetime
) -> Iterator[Metric]:
    """Yield metrics of the last success, its age, and a newer failure."""
    by_name: dict[str, dict[str, LastRun]] = {name: {} for name in names}
    for run in runs:
        by_name.get(run.subject, {})[run.state] = run
    good = {name: last for name, found in by_name.items() if (last := last_success(found))}
    yield _gauge(
        f"{kind}_last_success_timestamp_seconds",
        f"Start of the last {title} that succeeded, also in part.",
        (label,),
        {(name,): last.started_at.timestamp() for name, last in good.items()},
    )
    yield _gauge(
        f"{kind}_age_seconds",
        f"Time since the start of the last {title} that succeeded, also in part.",
        (label,),
        {(name,): (now - last.started_at).total_seconds() for name, last in good.items()},
    )
    yield _gauge(
        f"{kind}_failed",
        f"1 if the last {title} failed, otherwise 0.",
        (label,),
        {(name,): has_failed(found) for name, found in by_name.items()},
    )


def _incidents(installation: Installation, seen: LedgerOverview) -> Iterator[Metric]:
    shown = [row for row in seen.incidents if not is_quiet(row.playbook, row.scenario)]
    live = [row for row in shown if row.mode == Mode.LIVE]
    yield _gauge(
        "incidents_open",
        "Open incidents, by mode.",
        ("mode",),
        {(mode.value,): sum(row.mode == mode for row in shown) for mode in Mode},
    )
    ledger, now = installation.ledger, installation.clock()
    effects = count_open_effects(ledger.database, [row.id for row in live])
    work = [ledger.effects.open_work(row.id, now, only_undos=row.is_stopped) for row in live]
    yield _gauge(
        "effects",
        "Effects of open live incidents, by action and state.",
        ("action", "state"),
        effects.by_action,
    )
    yield _gauge(
        "notices",
        "Notices to single recipients of open live incidents, by state of sending.",
        ("state",),
        {(state.value,): effects.by_action.get((SEND, state.value), 0) for state in EffectState},
    )
    yield _gauge(
        "notice_deliveries",
        "Newest delivery report about each of these notices, by state.",
        ("state",),
        {(state.value,): effects.deliveries.get(state.value, 0) for state in DeliveryState},
    )
    yield _gauge(
        "queue_length",
        "Waiting work of open live incidents: effects that a runner could take now, steps that "
        "wait for an approval or an answer, recipients that a person must decide about.",
        ("queue",),
        {
            ("effects",): sum(sum(each.queues.values()) for each in work),
            ("approvals",): _in_state(live, StepState.ASKING),
            ("answers",): _in_state(live, StepState.PROMPTED),
            ("held_recipients",): sum(row.held for row in live),
        },
    )


def _in_state(incidents: Iterable[IncidentOverview], state: StepState) -> int:
    return sum(view.state is state for row in incidents for view in row.steps)


def _clocks(installation: Installation, seen: LedgerOverview, now: datetime) -> Iterator[Metric]:
    config = installation.config
    live = [row for row in seen.incidents if row.mode == Mode.LIVE]
    incidents: list[IncidentOverview | ClosedIncidentOverview] = [*live, *seen.closed]
    found = [
        clocks
        for row in incidents
        if not is_quiet(row.playbook, row.scenario)
        and (clocks := count_clocks(row.facts, config, now))
    ]
    yield _gauge(
        "clocks",
        "Legal clocks of live incidents: missed, due without delay, and running to a fixed time.",
        ("state",),
        {
            ("missed",): sum(clocks.missed for clocks in found),
            ("due_now",): sum(clocks.due_now for clocks in found),
            ("running",): sum(clocks.running for clocks in found),
        },
    )
    ends = [clocks.next_due for clocks in found if clocks.next_due]
    yield _gauge(
        "clock_next_due_timestamp_seconds",
        "End of the legal clock that ends first.",
        (),
        {(): min(ends).timestamp()} if ends else {},
    )


def _gauge(
    name: str, text: str, labels: _Labels, samples: Mapping[_Labels, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"standfast_{name}", text, labels=labels)
    for values, number in sorted(samples.items()):
        family.add_metric(values, number)
    return family
