"""A site of several hosts: backups and a breach while processes die.

The site is that of `deploy/site`: PostgreSQL, Redis, the services of Prefect and two API processes,
with SeaweedFS as the vault (the store of the encrypted backups). Everything runs on this machine,
so the rates are lower limits.

- `nightly_backups.py`: three hosts back up 20 sets of sources through Prefect; every recovery point
  (the result of one backup) is restored.
- `breach.py`: 2,000 accounts in five directories are locked and 100,000 customers notified, by
  three hosts, with responses in Prefect's queue (`response_runs.py`).
- `kills.py`: kills of the processes, in an order from a seed.
- `many_sets.py`: the work of one host for up to 10,000 backup sets, with simulated runs.

`--all` also runs the breach without Prefect, growing numbers of hosts without kills, and the
growing numbers of sets. `--quick` makes everything small. Incidents of growing size, up to a
million accounts, are measured in `benchmarks/effects.py`.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.measure import Contender, Missing, Row, Setting, compare
from benchmarks.site import breach, breach_hosts, many_sets, nightly_backups
from tests.servers import find_program
from tests.servers.postgres import running_postgres
from tests.servers.prefect_site import running_site
from tests.servers.seaweedfs import running_seaweedfs

_SECONDS = 3600
_SEED = 33
_PROGRAMS = ("redis-server", "slapd", "weed")


def rows(setting: Setting) -> list[Row]:
    """Run the breach and the backups with kills, then the rest of `--all`."""
    if missing := [name for name in _PROGRAMS if find_program(name) is None]:
        raise Missing(f"{', '.join(missing)}: not installed")
    backups = nightly_backups.Size(sets=20, kills=10, seed=_SEED)
    accounts = breach_hosts.Size(accounts=2000, customers=100_000, kills=10, seed=_SEED)
    if setting.is_quick:
        backups = nightly_backups.Size(sets=6, kills=4, seed=_SEED)
        accounts = breach_hosts.Size(accounts=100, customers=2000, kills=4, seed=_SEED)
    found = _breach(setting, accounts, has_prefect=True) + _nightly_backups(setting, backups)
    if not setting.is_all:
        return found
    found += _breach(setting, accounts, has_prefect=False)
    for hosts in (1, 2, 3):
        size = replace(accounts, hosts=hosts, accounts=500, customers=20_000, kills=0)
        found += _breach(setting, size, has_prefect=False)
        found += _nightly_backups(setting, replace(backups, hosts=hosts, kills=0))
    return found + many_sets.rows(setting)


def _nightly_backups(setting: Setting, size: nightly_backups.Size) -> list[Row]:
    metric = f"night: {size.sets} sets, {_named(size.hosts, size.kills)}"
    units = {
        metric: "s",
        f"{metric}: sets an hour": "sets/h",
        f"{metric}: runs that died": "runs",
        f"{metric}: repeated recovery points": "points",
    }

    def ours(_number: int) -> Mapping[str, float]:
        folder = setting.new_folder(metric.replace(":", ""))
        servers = folder / "servers"
        servers.mkdir()
        with (
            running_seaweedfs() as store,
            running_site(servers) as site,
            nightly_backups.prepared(folder, site, store, size) as prepared,
        ):
            done = prepared.run(folder / "restored", setting.report_progress, _SECONDS)
        setting.report_progress(f"  no difference: {done}")
        rate = size.sets / done.seconds * 3600
        return dict(zip(units, (done.seconds, rate, done.died, done.repeated), strict=True))

    return _once(setting, units, ours)


def _breach(setting: Setting, size: breach_hosts.Size, *, has_prefect: bool) -> list[Row]:
    metric = (
        f"breach{'' if has_prefect else ' without Prefect'}: {size.accounts:,} accounts, "
        f"{size.customers:,} customers, {_named(size.hosts, size.kills)}"
    )
    units = {
        f"{metric}: all locked": "s",
        f"{metric}: all notified": "s",
        f"{metric}: messages that an event settled": "messages",
        f"{metric}: messages that a person settled": "messages",
        f"{metric}: runs of the queue that began": "runs",
    }

    def ours(_number: int) -> Mapping[str, float]:
        folder = setting.new_folder(metric.replace(":", ""))
        with ExitStack() as stack:
            site = None
            if has_prefect:
                servers = folder / "servers"
                servers.mkdir()
                site = stack.enter_context(running_site(servers))
                url = site.ledger_url
            else:
                server = stack.enter_context(running_postgres())
                url = server.url(stack.enter_context(server.database()))
            prepared = stack.enter_context(breach.prepared(folder, url, size, site))
            done = prepared.run(setting.report_progress, _SECONDS)
        setting.report_progress(f"  no difference: {done}")
        figures = (
            done.lock_seconds,
            done.seconds,
            done.events_settled,
            done.people_settled,
            done.runs,
        )
        return dict(zip(units, figures, strict=True))

    return _once(setting, units, ours)


def _named(hosts: int, kills: int) -> str:
    return f"{hosts} host{'s' if hosts > 1 else ''}, {kills} kills"


def _once(
    setting: Setting, units: Mapping[str, str], ours: Callable[[int], Mapping[str, float]]
) -> list[Row]:
    contender = Contender(subject="standfast", run=ours)
    return compare("site", units, [contender], setting, seconds_a_round=2 * _SECONDS, rounds=1)
