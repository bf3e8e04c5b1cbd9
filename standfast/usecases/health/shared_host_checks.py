"""Who else backs up, keeps or drills with this place's ledger and vault, or under its name.

Rules
- Only the last weeks count, as the ledger has them: whoever is gone for good is told of no more.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.usecases.backups.cloned_hosts import APART, find_cloned_host, forked_at
from standfast.usecases.core.run_origins import origin_of, runs_of_vault
from standfast.usecases.health.check_results import Check, Ground, fail, warn

_LATELY = timedelta(days=31)


def other_keepers(ground: Ground) -> Iterator[Check]:
    """Does the keeper of this vault run by schedule here, and elsewhere lately?"""
    if ground.ledger is None or ground.config.backup.keeping.schedule is None:
        return
    since = ground.clock() - _LATELY
    runs = runs_of_vault(ground.config, ground.ledger.runs.all("keep"))
    lately = {Origin.of(run.summary).machine for run in runs if run.started_at >= since}
    if others := lately - {"", host_name()}:
        yield warn(
            "backup",
            f"the keeper of this vault runs on {', '.join(sorted(others))}, too: what the rules of "
            "either let go is gone",
            "leave backup.keeping.schedule to one of them",
        )


def twins(ground: Ground) -> Iterator[Check]:
    """Does another machine back up under this host's name?"""
    if ground.ledger is None:
        return  # told already
    runs, now = ground.ledger.runs.all("backup"), ground.clock()
    own = origin_of(ground.config)
    yield from _namesakes(runs, own, now)
    twin = find_cloned_host(runs, own, now)
    if twin is not None:
        judge = fail if twin.is_sure else warn
        yield judge("backup", twin.sentence, twin.what_to_do)
    elif forked := forked_at(runs, own, now):
        yield warn(
            "backup",
            f"at {forked:%Y-%m-%d %H:%M}Z the vault had a point of {own.host} that this machine "
            "had not made: it was rolled back, or a copy of it backs up, too",
            f"where both back up, {APART}",
        )


def other_hosts_of(ground: Ground, name: str) -> Iterator[Check]:
    """Who else backed a set of this name up lately: a drill goes by its name."""
    if ground.ledger is None:
        return
    since = ground.clock() - _LATELY
    points = [
        run.summary["point"]
        for run in runs_of_vault(ground.config, ground.ledger.runs.all("backup", name))
        if run.started_at >= since and run.summary.get("point")
    ]
    others = {point.partition("/")[0] for point in points} - {ground.config.backup.writer}
    if others:
        yield warn(
            "backup sets",
            f"{name}: a set of that name is backed up by {', '.join(sorted(others))} too, into the"
            " same vault. A drill takes the newest point of any, and counts for each",
            "give the set another name on one of them",
        )


def _namesakes(runs: Sequence[RunRecord], own: Origin, now: datetime) -> Iterator[Check]:
    lately = [Origin.of(run.summary) for run in runs if now - run.started_at <= _LATELY]
    machines = {
        one.machine
        for one in lately
        if one.host == own.host and one.machine != own.machine and own.vault and one.vault
        if one.vault != own.vault
    }
    if machines:
        yield warn(
            "backup",
            f"{own.host} is also a host with another vault, on {', '.join(sorted(machines))}: the "
            "ledger keeps them apart, and people who read a list or a page do not",
            APART,
        )
