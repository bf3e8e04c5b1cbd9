"""Evidence: collection, search for indicators, and timeline of a review.

Evidence is signed copies of logs and files. A review searches these and orders their log records.

Aims
- A collection has at least 0.9 of the rate of `cp`, `sync` and `sha256sum` of the same files.
- A search for 1,000 indicators has at least the rate of `grep -F`.
- The records of logs are parsed, masked and ordered at 50,000 lines/s of processor time or more.
- The peak memory of a review does not grow with its logs.
"""

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import processes
from benchmarks.commands import STANDFAST
from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import ExitStatus
from standfast.evidence.host_clock import HostClock
from standfast.evidence.review.indicator_list import IndicatorList, read_indicator_list
from standfast.records import EffectState, Mode, Order
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.log_review import ReviewRequest, review_logs
from standfast.usecases.incidents.lifecycle import open_incident
from tests.adapters.settings import reveal
from tests.usecases.installations import furnish, installation_at

_NAME = "evidence"
_RATE = "rate"
_SECONDS = 3_600  # time limit of one review of large logs
_LINES = 40_000  # number of lines of one log
_MEMORY, _PROCESSOR = "memory", "processor"
_SEARCHED_GB, _ORDERED_GB = (1, 4), (0.1, 0.4)  # sizes of logs; --all adds ten times the first size
_LINE = (
    "203.0.113.{low} - agent{account:03} [25/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] "
    '"GET /customers/{record} HTTP/1.1" 200 {size} "-" "Mozilla/5.0 (X11; Linux x86_64)"\n'
)


def rows(setting: Setting) -> list[Row]:
    """Measure each aim."""
    with installation_at(furnish(setting.new_folder("centre"))) as installation:
        logs = installation.config.folder / "logs"
        size_bytes = _write_logs(logs, setting.size(8, 2))
        measured = [
            *_collection(installation, logs, size_bytes, setting),
            *_review(installation, logs, size_bytes, setting),
        ]
    return [*measured, *_memory(setting)]


def _write_logs(folder: Path, count: int) -> int:
    """Write access logs; return their size in bytes."""
    chosen = random.Random(1)  # the same in every run
    for log in folder.iterdir():
        log.unlink()
    for number in range(count):
        (folder / f"access-{number}.log").write_text(
            "".join(
                _LINE.format(
                    low=chosen.randrange(1, 250),
                    account=chosen.randrange(400),
                    hour=line // 3_600 % 24,
                    minute=line // 60 % 60,
                    second=line % 60,
                    record=chosen.randrange(10**6),
                    size=chosen.randrange(10**5),
                )
                for line in range(_LINES)
            )
        )
    return sum(log.stat().st_size for log in folder.iterdir())


def _collection(
    installation: Installation, logs: Path, size_bytes: int, setting: Setting
) -> list[Row]:
    def collect(number: int) -> Mapping[str, float]:
        folder = setting.new_folder(f"evidence-{number}")
        watch = Stopwatch()
        _freeze(installation, logs, folder, f"token-{number}")
        seconds = watch.seconds()
        shutil.rmtree(folder)
        return {_RATE: size_bytes / seconds / 10**6}

    def copy(number: int) -> Mapping[str, float]:
        folder = setting.folder / f"copy-{number}"
        watch = Stopwatch()
        subprocess.run(["cp", "-a", logs, folder], check=True)
        files = sorted(folder.iterdir())
        subprocess.run(["sync", *files], check=True)
        subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
        seconds = watch.seconds()
        shutil.rmtree(folder)
        return {_RATE: size_bytes / seconds / 10**6}

    note = f"{size_bytes / 10**6:,.0f} MB; aim: 0.9 of the copy"
    contenders = [
        Contender(subject="collection", run=collect, note=note),
        Contender(subject="cp, sync, sha256sum", run=copy),
    ]
    return compare(f"{_NAME}: collection", {_RATE: "MB/s"}, contenders, setting)


def _freeze(installation: Installation, logs: Path, folder: Path, token: str) -> None:
    source = FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=(logs,)),
        SourceContext(
            signing_key=read_signing_key(installation.config.custody.key),
            clock=lambda: datetime.now(UTC),
            reveal=reveal,
            host_clock=lambda: HostClock(offset_microseconds=None, known_by="not measured"),
        ),
    )
    order = Order(token=token, verb="evidence.snapshot", target="source:logs")
    custody = Custody(incident=folder.name, collector="bench", reason="bench", folder=folder)
    expect(source.collect(order, custody).state is EffectState.DONE, "the logs are frozen")


def _review(installation: Installation, logs: Path, size_bytes: int, setting: Setting) -> list[Row]:
    opened = open_incident(installation, "lock", {"accounts": ["bob"]}, mode=Mode.EXERCISE)
    folder = installation.config.custody.folder / opened.incident
    folder.mkdir(parents=True)
    _freeze(installation, logs, folder, "token")
    listed = setting.new_folder("lists") / "indicators"
    listed.write_text("".join(_indicators()))
    lines = len(list(logs.iterdir())) * _LINES

    def review(indicators: IndicatorList | None) -> float:
        watch = Stopwatch()
        found = review_logs(installation, opened.incident, ReviewRequest(indicators=indicators))
        seconds = watch.seconds()
        expect(found.exit_status is ExitStatus.DONE, "the logs are reviewed")
        expect(found.selected == (0 if indicators else lines), "every line is a record")
        return seconds

    def timeline(_number: int) -> Mapping[str, float]:
        return {_RATE: lines / review(None)}

    def search(_number: int) -> Mapping[str, float]:
        return {_RATE: size_bytes / review(read_indicator_list(listed)) / 10**6}

    def grep(_number: int) -> Mapping[str, float]:
        watch = Stopwatch()
        command: list[str | Path] = ["grep", "-F", "-f", listed, *sorted(logs.iterdir())]
        done = subprocess.run(
            command, check=False, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"}
        )
        expect(done.returncode == 1, "no line has an indicator")
        return {_RATE: size_bytes / watch.seconds() / 10**6}

    indicators = [
        Contender(subject="review by indicators", run=search, note="1,000; aim: that of grep"),
        Contender(subject="grep -F -f", run=grep),
    ]
    note = f"{lines:,} lines; aim: 50,000 for each second of processor time"
    return [
        *compare(f"{_NAME}: indicators", {_RATE: "MB/s"}, indicators, setting),
        *compare(
            f"{_NAME}: timeline",
            {_RATE: "lines/s"},
            [Contender(subject="masked review", run=timeline, note=note)],
            setting,
        ),
    ]


def _memory(setting: Setting) -> list[Row]:
    """Measure the peak memory of a search and of a timeline, by log size."""
    listed = setting.new_folder("indicators") / "list"
    listed.write_text("".join(_indicators()))
    search = ("--indicators", str(listed))
    contenders = [
        _large_review(setting, size / setting.size(1, 100), name, options)
        for name, sizes, options in (
            ("search", _SEARCHED_GB, search),
            ("timeline", _ORDERED_GB, ()),
        )
        for size in (*sizes, *((sizes[0] * 10,) if setting.is_all else ()))
    ]
    units = {_MEMORY: "MB", _PROCESSOR: "s"}
    return compare(
        f"{_NAME}: memory", units, contenders, setting, rounds=1, seconds_a_round=_SECONDS
    )


def _large_review(
    setting: Setting, gigabytes: float, name: str, options: Sequence[str]
) -> Contender:
    def review(_number: int) -> Mapping[str, float]:
        folder = setting.new_folder(f"{name}-{gigabytes:g}")
        config_file = furnish(folder)
        with installation_at(config_file) as installation:
            logs = installation.config.folder / "logs"
            _write_large_log(logs, gigabytes * 10**9)
            opened = open_incident(installation, "lock", {"accounts": ["bob"]}, mode=Mode.EXERCISE)
            place = installation.config.custody.folder / opened.incident
            place.mkdir(parents=True)
            _freeze(installation, logs, place, "token")
        command = ["-c", str(config_file), "evidence", "review", opened.incident, *options]
        used = processes.run([*STANDFAST, *command], seconds=_SECONDS)
        shutil.rmtree(folder)
        return {_MEMORY: used.memory_bytes / 10**6, _PROCESSOR: used.cpu_seconds}

    return Contender(subject=f"{name} of {gigabytes:g} GB", run=review)


def _write_large_log(folder: Path, size_bytes: float) -> None:
    """Write an access log of this size that repeats its lines."""
    _write_logs(folder, 1)
    (log,) = folder.iterdir()
    lines = log.read_bytes()
    with log.open("wb") as stream:
        while stream.tell() < size_bytes:
            stream.write(lines)


def _indicators() -> Iterator[str]:
    """Yield 1,000 addresses, domains and hashes that no log has."""
    chosen = random.Random(2)
    for number in range(400):
        yield f"45.{chosen.randrange(256)}.{chosen.randrange(256)}.{number % 256}\n"
    for number in range(300):
        yield f"host{number}.evil{number % 7}.example\n"
        yield hashlib.sha256(str(number).encode()).hexdigest() + "\n"
