"""Checks for other machines with the same ledger, vault or host name.

The ledger is the database of the installation. The vault is the folder or bucket with the encrypted
backups. Only backups and retention runs of the last 31 days are examined, so that a removed machine
is reported for at most a month.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from standfast.host_name import host_name
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.usecases.backups.cloned_hosts import APART, find_cloned_host, forked_at
from standfast.usecases.core.run_origins import origin_of, runs_of_vault
from standfast.usecases.health.check_results import Check, CheckInputs, fail, warn

_LATELY = timedelta(days=31)


def other_keepers(inputs: CheckInputs) -> Iterator[Check]:
    """Check that retention is scheduled on one machine only.

    The keeper is the machine that may expire the backups of a vault.
    """
    if inputs.ledger is None or inputs.config.backup.keeping.schedule is None:
        return
    since = inputs.clock() - _LATELY
    runs = runs_of_vault(inputs.config, inputs.ledger.runs.all("keep"))
    lately = {Origin.of(run.summary).machine for run in runs if run.started_at >= since}
    if others := lately - {"", host_name()}:
        yield warn(
            "backup",
            f"the keeper of this vault also runs on {', '.join(sorted(others))}: data is deleted "
            "if the rules of one machine expire it, even if the rules of the other machine keep "
            "it",
            "set backup.keeping.schedule on one of these machines only",
        )


def cloned_host(inputs: CheckInputs) -> Iterator[Check]:
    """Check that no other machine backs up under this host's name."""
    if inputs.ledger is None:
        return  # the check of the ledger reports the error
    runs, now = inputs.ledger.runs.all("backup"), inputs.clock()
    own = origin_of(inputs.config)
    yield from _namesakes(runs, own, now)
    clone = find_cloned_host(runs, own, now)
    if clone is not None:
        judge = fail if clone.is_sure else warn
        yield judge("backup", clone.sentence, clone.what_to_do)
    elif forked := forked_at(runs, own, now):
        yield warn(
            "backup",
            f"at {forked:%Y-%m-%d %H:%M}Z the vault had a point of {own.host} that this machine "
            "had not made: this machine was rolled back, or a copy of this machine also "
            "backs up",
            f"if both back up, {APART}",
        )


def other_hosts_of(inputs: CheckInputs, name: str) -> Iterator[Check]:
    """Check that no other host has a backup set of this name in the vault.

    A drill (test restore) does not distinguish sets of the same name.
    """
    if inputs.ledger is None:
        return
    since = inputs.clock() - _LATELY
    points = [
        run.summary["point"]
        for run in runs_of_vault(inputs.config, inputs.ledger.runs.all("backup", name))
        if run.started_at >= since and run.summary.get("point")
    ]
    others = {point.partition("/")[0] for point in points} - {inputs.config.backup.writer}
    if others:
        yield warn(
            "backup sets",
            f"{name}: {', '.join(sorted(others))} also backs up a set of that name to the same "
            "vault. A drill uses the newest point of any host, and counts for all these hosts",
            "rename the set on one of the hosts",
        )


def _namesakes(runs: Sequence[RunRecord], own: Origin, now: datetime) -> Iterator[Check]:
    lately = [Origin.of(run.summary) for run in runs if now - run.started_at <= _LATELY]
    machines = {
        origin.machine
        for origin in lately
        if origin.host == own.host and origin.machine != own.machine and own.vault and origin.vault
        if origin.vault != own.vault
    }
    if machines:
        yield warn(
            "backup",
            f"{own.host} is also the name of a host with another vault, on "
            f"{', '.join(sorted(machines))}: the ledger distinguishes them, but lists and pages "
            "do not show which host is meant",
            APART,
        )
