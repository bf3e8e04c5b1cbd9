"""Backup and restore in a bucket 30 ms away, next to restic.

Most of the time is spent waiting for the network.

`python -m benchmarks backup_across_a_network [--rounds N] [--quick] [--all]`.

- The store is a real SeaweedFS behind the proxy of `network`: each answer arrives a round trip
  later, as from another city. Neither program has a bandwidth limit or TLS.
- Each program is a whole process at its default settings. Standfast uses the S3 users of
  `deploy/s3/`, one for each step, in a bucket with Object Lock. restic has all rights in a plain
  bucket, because it removes its own lock files.
- Three corpora are backed up into empty repositories: first backup, unchanged backup, the next
  day's version, and its restore, which is compared with its source. Small files are also backed up
  into a repository of 30 daily runs (`--all`: 300). Then the following are measured there: an
  unchanged run, the list of recovery points (the results of the runs), the restore of one file, a
  search in the newest point and in all points, a verification and a retention run.
- restic keeps a cache on the host, and loses it together with the host. Therefore one file is also
  searched and restored without the cache.
- Next to the seconds is the number of calls in series: the longest chain in which each call was
  made after the answer to the call before. A busy machine changes the seconds, not this number.
"""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import corpora
from benchmarks.backup_vs_peers import expect_same
from benchmarks.commands import STANDFAST
from benchmarks.measure import Contender, Missing, Row, Setting, compare, expect
from benchmarks.network import Network, running_network
from benchmarks.processes import Usage, run
from tests.servers.seaweedfs import Role, SeaweedFs, running_seaweedfs

_BENCHMARK = "backup_across_a_network"
_ROUND_TRIP_SECONDS = 0.03
_SCALES = {"recordings": 0.19, "files": 0.1, "dump": 0.19}  # 200 MB, 6,000 files, 200 MB
_SECONDS_A_ROUND = 900.0
_FIRST, _AGAIN, _NEXT_DAY, _RESTORE = _STEPS = "first backup", "unchanged", "next day", "restore"
_LATER = (
    "unchanged", "list", "one file back", "found in the newest point", "found in all points",
    "verified", "kept",
)  # fmt: skip
_WITHOUT_CACHE = ("one file back, no cache", "found in the newest point, no cache")


class _Program(ABC):
    """A backup program with an empty repository in a bucket."""

    def __init__(self, folder: Path, source: Path, server: SeaweedFs, network: Network) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.source = source
        self.network = network
        self._outputs = 0
        self._prepare(server)

    @abstractmethod
    def _prepare(self, server: SeaweedFs) -> None: ...

    @abstractmethod
    def back_up(self) -> Usage:
        """Make a recovery point of the source as it is now."""

    @abstractmethod
    def restore(self, target: Path) -> Usage:
        """Restore the newest point whole."""

    @abstractmethod
    def restored(self, target: Path) -> Path:
        """Return the path of the source below the target of a restore."""

    @abstractmethod
    def later(self, path: Path) -> dict[str, Callable[[], Usage]]:
        """Return the commands for a repository of many runs.

        `path` is the file that they search for.
        """

    def _new_folder(self) -> Path:
        self._outputs += 1
        return self.folder / f"out-{self._outputs}"


class _Standfast(_Program):
    def _prepare(self, server: SeaweedFs) -> None:
        place = self._place = self.folder / "place"
        run([*STANDFAST, "init", str(place), "--source", str(self.source), "--yes"])
        offline, keeper = place / "offline", ["--keeper-file", str(place / "keys/keeper.json")]
        owner = ["backup", "owner", "set-keeper", "--owner-key", str(offline / "owner.json")]
        run([*STANDFAST, "-c", str(place / "standfast.toml"), *owner, *keeper])
        bucket = server.bucket()
        client = bucket.client(server.admin)
        for path in (place / "vault/pub").rglob("*"):
            if path.is_file():
                name = str(path.relative_to(place / "vault"))
                client.put_object(Bucket=bucket.name, Key=name, Body=path.read_bytes())
        settings = (place / "standfast.toml").read_text()
        roles: tuple[Role, ...] = ("writer", "reader", "verifier", "keeper")
        for role in roles:
            key = bucket.key(role, writer="host-1")
            for kind, text in (("id", key.access_key), ("secret", key.secret_key)):
                (place / f"{role}.{kind}").write_text(f"{text}\n")
                (place / f"{role}.{kind}").chmod(0o600)
            (place / f"{role}.toml").write_text(
                f'{settings}\n[backup.s3]\nbucket = "{bucket.name}"\n'
                f'endpoint_url = "{self.network.url}"\n'
                f'access_key_id = "file:{role}.id"\nsecret_access_key = "file:{role}.secret"\n'
            )
        self._identity = ["--identity", str(offline / "identity.txt")]

    def _run(self, role: Role, *words: str) -> Usage:
        return run([*STANDFAST, "-c", str(self._place / f"{role}.toml"), "backup", *words])

    def back_up(self) -> Usage:
        return self._run("writer", "run", "main")

    def restore(self, target: Path) -> Usage:
        where = ["--to", str(target), "--owner"]
        return self._run("reader", "restore", "latest", *where, *self._identity)

    def restored(self, target: Path) -> Path:
        return target / self.source.name

    def later(self, path: Path) -> dict[str, Callable[[], Usage]]:
        def one_back() -> Usage:
            target, wanted = self._new_folder(), f"{self.source.name}/{path}"
            where = ["--to", str(target), *self._identity]
            used = self._run("reader", "restore", "latest", wanted, *where)
            is_same = (target / wanted).read_bytes() == (self.source / path).read_bytes()
            expect(is_same, "the file came back as it is")
            return used

        find = ("find", path.name, *self._identity)
        calls = (
            self.back_up,
            lambda: self._run("reader", "list"),
            one_back,
            lambda: self._run("reader", *find),
            lambda: self._run("reader", *find, "--all-points"),
            lambda: self._run("verifier", "verify"),
            lambda: self._run("keeper", "keep"),
        )
        found = dict(zip(_LATER, calls, strict=True))
        return {**found, **{name: found[name.partition(",")[0]] for name in _WITHOUT_CACHE}}


class _Restic(_Program):
    def _prepare(self, server: SeaweedFs) -> None:
        if shutil.which("restic") is None:
            raise Missing("restic is not installed; apt-get install restic")
        bucket = server.bucket(can_lock=False, is_versioned=False)
        self._env = {
            **os.environ,
            "RESTIC_REPOSITORY": f"s3:{self.network.url}/{bucket.name}",
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "AWS_ACCESS_KEY_ID": server.admin.access_key,
            "AWS_SECRET_ACCESS_KEY": server.admin.secret_key,
        }
        self._run("init")

    def _run(self, *words: str) -> Usage:
        return run(["restic", "--quiet", *words], env=self._env)

    def back_up(self) -> Usage:
        return self._run("backup", str(self.source))

    def restore(self, target: Path) -> Usage:
        return self._run("restore", "latest", "--target", str(target))

    def restored(self, target: Path) -> Path:
        return target / self.source.relative_to("/")

    def later(self, path: Path) -> dict[str, Callable[[], Usage]]:
        def one_back(*options: str) -> Usage:
            target, wanted = self._new_folder(), str(self.source / path)
            where = ["--target", str(target), "--include", wanted]
            used = self._run("restore", "latest", *where, *options)
            is_same = (self.restored(target) / path).read_bytes() == Path(wanted).read_bytes()
            expect(is_same, "the file came back as it is")
            return used

        newest = ("find", "--snapshot", "latest", path.name)
        keep = ("forget", "--keep-daily", "90", "--keep-last", "400", "--prune")
        calls = (
            self.back_up,
            lambda: self._run("snapshots"),
            one_back,
            lambda: self._run(*newest),
            lambda: self._run("find", path.name),
            lambda: self._run("check"),
            lambda: self._run(*keep),
        )
        without = (lambda: one_back("--no-cache"), lambda: self._run(*newest, "--no-cache"))
        return dict(zip((*_LATER, *_WITHOUT_CACHE), (*calls, *without), strict=True))


_PROGRAMS: dict[str, type[_Program]] = {"standfast": _Standfast, "restic": _Restic}


def rows(setting: Setting) -> list[Row]:
    """Measure at 30 ms; create the repository of many runs without delay."""
    with running_seaweedfs() as server, running_network(_port(server)) as network:
        found: list[Row] = []
        for name, scale in _SCALES.items():
            part = scale / 10 if setting.is_quick else scale
            corpus = corpora.make(name, setting.folder / f"corpus-{name}", part)
            found += _in_turn(
                setting, _fresh(setting, corpus, server, network), f"{name}: ", _STEPS
            )
            if name == "files":
                runs = 300 if setting.is_all else setting.size(30, 3)
                later = _after(runs, setting, corpus, server, network)
                found += _in_turn(setting, later, f"{runs} runs: ", (*_LATER, *_WITHOUT_CACHE))
        return found


def _fresh(
    setting: Setting, corpus: corpora.Corpus, server: SeaweedFs, network: Network
) -> Callable[[str, int], Mapping[str, float]]:
    """Return a function that measures a new repository, in each round.

    It measures two backups, the backup of the next day, and the restore of that day.
    """

    def round_of(subject: str, number: int) -> Mapping[str, float]:
        folder = setting.folder / f"{corpus.name}-{number}-{subject}"
        program = _PROGRAMS[subject](folder, corpus.source, server, network)
        figures: dict[str, float] = {}
        with _at_a_distance(network):
            for step in (_FIRST, _AGAIN):
                figures.update(_measured(network, step, program.back_up))
            corpus.turn_to_next_day()
            try:
                figures.update(_measured(network, _NEXT_DAY, program.back_up))
                target = folder / "out"
                figures.update(_measured(network, _RESTORE, lambda: program.restore(target)))
                expect_same(corpus.source, program.restored(target))
            finally:
                corpus.turn_back()
        shutil.rmtree(folder)
        return figures

    return round_of


def _after(
    runs: int, setting: Setting, corpus: corpora.Corpus, server: SeaweedFs, network: Network
) -> Callable[[str, int], Mapping[str, float]]:
    """Return a function that measures daily commands on a repository.

    The repository contains many backups, and ten files change before each of them.
    """
    path = next(path for path in sorted(corpus.source.rglob("*.eml")))
    made: dict[str, _Program] = {}

    def program_of(subject: str) -> _Program:
        if subject not in made:
            source = setting.folder / f"source-{subject}"
            shutil.copytree(corpus.source, source)
            program = _PROGRAMS[subject](setting.folder / subject, source, server, network)
            changed = sorted(file for file in source.rglob("*") if file.is_file())
            for number in range(runs):
                setting.report_progress(f"{_BENCHMARK}: run {number + 1} of {runs}, {subject}")
                for file in changed[number % 600 :: 600]:
                    with file.open("a") as content:
                        content.write(f"edited before run {number}\n")
                program.back_up()
            made[subject] = program
        return made[subject]

    def round_of(subject: str, number: int) -> Mapping[str, float]:
        del number
        program = program_of(subject)
        figures: dict[str, float] = {}
        with _at_a_distance(network):
            for step, call in program.later(path.relative_to(corpus.source)).items():
                figures.update(_measured(network, step, call))
        return figures

    return round_of


def _in_turn(
    setting: Setting,
    round_of: Callable[[str, int], Mapping[str, float]],
    before: str,
    steps: Sequence[str],
) -> list[Row]:
    def run_of(subject: str) -> Callable[[int], Mapping[str, float]]:
        return lambda number: {
            f"{before}{metric}": value for metric, value in round_of(subject, number).items()
        }

    units: dict[str, str] = {}
    for step in steps:
        units[f"{before}{step}"] = "s"
        units[f"{before}{step}, in series"] = units[f"{before}{step}, calls"] = "calls"
    return compare(
        _BENCHMARK,
        units,
        [Contender(subject=subject, run=run_of(subject)) for subject in _PROGRAMS],
        setting,
        seconds_a_round=_SECONDS_A_ROUND,
    )


def _measured(network: Network, step: str, call: Callable[[], Usage]) -> dict[str, float]:
    network.forget()
    seconds = call().wall_seconds
    return {
        step: seconds,
        f"{step}, in series": network.in_series(),
        f"{step}, calls": network.requests.total(),
    }


@contextmanager
def _at_a_distance(network: Network) -> Iterator[None]:
    network.round_trip_seconds = _ROUND_TRIP_SECONDS
    try:
        yield
    finally:
        network.round_trip_seconds = 0.0


def _port(server: SeaweedFs) -> int:
    return int(server.url.rpartition(":")[2])
