"""Nightly backups of several hosts through one Prefect, with kills.

Each host backs up its own sets into one repository in a bucket of SeaweedFS (the vault). All hosts
share a ledger, a database on PostgreSQL that records each run. Each set is new, so the worker of a
host (the process that does the work which Prefect assigns) backs up its sets as soon as it has
registered. Afterwards each recovery point (the result of one backup) is restored and compared with
its source, and the ledger is compared with the vault.

A run that is killed between the commit of its recovery point and its end in the ledger leaves a
recovery point that no successful run names. Its set is then backed up again. Such points are
counted; they must belong to a run that failed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from backup.ownership.operations.writers import add_writer
from backup.ownership.owner_session import OwnerSession, open_owner
from backup.ownership.repository_creation import create_repository
from backup.stores.directory import DirectoryStore
from backup.stores.s3 import S3Options
from backup.stores.s3.store import open_s3
from benchmarks.measure import Stopwatch, expect
from benchmarks.site.hosts import Host
from benchmarks.site.kills import Kills, Victim, victims_of_site
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.recovery_point_contents import list_points
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation
from tests import ledger_schema
from tests.backup.trees import describe, noise
from tests.servers.prefect_site import PrefectSite
from tests.servers.seaweedfs import SeaweedFs

_SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000, the number on your card"

[ledger]
url = "{ledger_url}"
keys = "{common}/ledger-keys"

[serve]
prefect = "{prefect}"

[backup]
writer = "{host}"
keys = "{common}/key-store"

[backup.s3]
bucket = "{bucket}"
endpoint_url = "{endpoint}"
access_key_id = "env:S3_KEY_ID"
secret_access_key = "env:S3_SECRET"
"""
_SET = """
[[backup.sets.{name}.sources]]
kind = "files"
name = "recordings"
path = "{name}"
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of one measurement."""

    sets: int
    hosts: int = 3
    kills: int = 0
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The duration of the nightly backups, after all comparisons succeeded."""

    seconds: float  # from the start of the workers until each set has a recovery point
    killed: Sequence[str]
    died: int  # runs whose process died
    repeated: int  # recovery points that no successful run names


@dataclass(frozen=True, kw_only=True)
class NightlyBackups:
    """The hosts, and the installation of each."""

    size: Size
    hosts: Sequence[Host]
    installations: Sequence[Installation]
    sets: Sequence[Sequence[str]]  # by host
    identity: Path
    victims: Sequence[Victim]

    def run(self, folder: Path, report_progress: Callable[[str], None], seconds: float) -> Measured:
        """Run the backups with kills; raise Wrong on any difference."""
        watch = Stopwatch()
        for host in self.hosts:
            host.commands = [host.standfast("worker")]
            host.start()
        kills = Kills(
            victims=self.victims,
            count=self.size.kills,
            seed=self.size.seed,
            report_progress=report_progress,
        )
        killed = kills.during(lambda: len(self._done()) / self.size.sets, seconds)
        taken = watch.seconds()
        for host in self.hosts:
            host.end()
        died = self._died()
        expect(died > 0 or not self.size.kills, "a kill ended at least one backup in progress")
        report_progress("  restore and compare each recovery point")
        return Measured(
            seconds=taken,
            killed=killed,
            died=died,
            repeated=self._compare(folder),
        )

    def _done(self) -> set[str]:
        """Return the sets with a successful backup."""
        for host in self.hosts:
            host.expect_running()
        runs = self.installations[0].ledger.runs.all("backup", states=("done",))
        return {run.subject for run in runs}

    def _died(self) -> int:
        states = Counter(run.state for run in self.installations[0].ledger.runs.all("backup"))
        return states.total() - states["done"]

    def _compare(self, folder: Path) -> int:
        """Compare sources, vault and ledger; return the number of repeated points."""
        ledger = self.installations[0].ledger
        named = Counter(
            str(run.summary["point"]) for run in ledger.runs.all("backup", states=("done",))
        )
        expect(set(named.values()) <= {1}, "each successful run has a recovery point of its own")
        found = list_points(self.installations[0])
        expect(not found.damaged, f"no recovery point is damaged: {found.damaged[:1]}")
        points = {point.name: point.set_name for point in found.points}
        expect(not named.keys() - points.keys(), "each successful run's point is in the vault")
        counts = Counter(points[name] for name in named)
        expect(counts.total() == self.size.sets, f"each set has one successful run, not {counts}")
        repeated = points.keys() - named.keys()
        failed = Counter(run.subject for run in ledger.runs.all("backup") if run.state != "done")
        expect(
            Counter(points[name] for name in repeated) <= failed,
            f"each further point belongs to a run that did not succeed: {repeated}",
        )
        for installation, names in zip(self.installations, self.sets, strict=True):
            for name, set_name in points.items():
                if set_name in names:
                    self._restore(installation, name, set_name, folder)
        report = ledger.audit.verify()
        expect(report.is_whole, f"the audit chain is whole: {report.findings[:1]}")
        return len(repeated)

    def _restore(self, installation: Installation, point: str, set_name: str, folder: Path) -> None:
        to = folder / point
        outcome = restore(installation, point, to, self.identity, syncs=False)
        source = installation.config.folder / set_name
        is_equal = describe(to / "recordings") == describe(source)
        expect(not outcome.result.problems and is_equal, f"{point} of {set_name} equals its source")


@contextmanager
def prepared(
    folder: Path, site: PrefectSite, store: SeaweedFs, size: Size
) -> Iterator[NightlyBackups]:
    """Build the hosts and their repository; end their processes at the end."""
    common = folder / "common"
    common.mkdir()
    ledger_schema.create(
        site.ledger_url, common / "ledger-keys", folder / "witness.jsonl", datetime.now(UTC)
    )
    bucket = store.bucket()
    env = {
        "S3_KEY_ID": store.admin.access_key,
        "S3_SECRET": store.admin.secret_key,
        "PREFECT_API_AUTH_STRING": site.secret,
    }
    names = [f"set-{number:05}" for number in range(size.sets)]
    shares = [names[number :: size.hosts] for number in range(size.hosts)]
    with ExitStack() as stack:
        hosts, installations = list[Host](), list[Installation]()
        for number, share in enumerate(shares, 1):
            host = Host(name=f"host-{number}", folder=folder / f"host-{number}", env=env)
            host.folder.mkdir()
            for name in share:
                _fill(host.folder / name, seed=int(name[-5:]))
            settings = _SETTINGS.format(
                ledger_url=site.ledger_url,
                common=common,
                prefect=site.url,
                host=host.name,
                bucket=bucket.name,
                endpoint=store.url,
            )
            settings += "".join(_SET.format(name=name) for name in share)
            host.config_file.write_text(settings)
            stack.callback(host.end)
            hosts.append(host)
        options = S3Options(
            bucket=bucket.name,
            endpoint_url=store.url,
            access_key_id=store.admin.access_key,
            secret_access_key=store.admin.secret_key,
        )
        _create_repository(common, options, hosts)
        for host in hosts:
            installations.append(
                stack.enter_context(
                    open_installation(host.config_file, env=env, actor="os:benchmark")
                )
            )
        yield NightlyBackups(
            size=size,
            hosts=hosts,
            installations=installations,
            sets=shares,
            identity=common / "custodian.txt",
            victims=victims_of_site(site, hosts, partial(_has_backup, installations, shares)),
        )


def _has_backup(
    installations: Sequence[Installation], sets: Sequence[Sequence[str]], host: Host
) -> bool:
    """Return whether a backup of a host is in progress."""
    running = installations[0].ledger.runs.all("backup", states=("running",))
    own = sets[int(host.name.removeprefix("host-")) - 1]
    return any(run.subject in own for run in running)


def _fill(folder: Path, *, seed: int) -> None:
    """Write the files of a set: 64 MB, so that a kill can hit its backup."""
    (folder / "2026").mkdir(parents=True)
    (folder / "note.txt").write_text(f"the customer rang {seed} times\n" * 20)
    for number in range(8):
        (folder / "2026" / f"call-{number}.wav").write_bytes(noise(8_000_000, seed * 10 + number))


def _create_repository(common: Path, options: S3Options, hosts: Sequence[Host]) -> None:
    """Create the repository of the first host; authorize the others."""
    vault, keys = open_s3(options), DirectoryStore(common / "key-store")
    first, *others = hosts
    create_repository(
        vault=vault,
        keys=keys,
        writer=first.name,
        domain="main",
        host_dir=first.folder / "keys/backup-host",
        owner_file=common / "owner.json",
        identity_file=common / "custodian.txt",
        now=datetime.now(UTC),
    )
    owner = OwnerSession(
        owner=open_owner(common / "owner.json"),
        owner_file=common / "owner.json",
        vault=vault,
        keys=None,
        now=lambda: datetime.now(UTC),
    )
    for host in others:
        add_writer(owner, name=host.name, domain="main", host_dir=host.folder / "keys/backup-host")
