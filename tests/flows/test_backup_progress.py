"""Progress is shown by counts only, and Prefect holds up no backup."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from backup.records import Progress
from flows import backup_progress as module
from flows.backup_progress import progress_shown
from tests.servers import wait_until

pytestmark = pytest.mark.xdist_group("prefect")
OFTEN = 0.01


@dataclass
class Prefect:
    """Calls to a Prefect server, which may hang or refuse."""

    told: list[tuple[float, str]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    hangs: threading.Event | None = None
    refuses: bool = False
    calls: int = 0

    def create(self, *, progress: float, key: str, description: str) -> UUID:
        self.keys.append(key)
        self._take(progress, description)
        return uuid4()

    def update(self, artifact: UUID, *, progress: float, description: str) -> UUID:
        self._take(progress, description)
        return artifact

    def _take(self, progress: float, description: str) -> None:
        self.calls += 1
        if self.hangs is not None:
            self.hangs.wait()
        if self.refuses:
            raise RuntimeError("no such server: postgresql://user:secret@host")
        self.told.append((progress, description))


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    server = Prefect()
    monkeypatch.setattr(module, "create_progress_artifact", server.create)
    monkeypatch.setattr(module, "update_progress_artifact", server.update)
    yield server
    if server.hangs is not None:
        server.hangs.set()
    wait_until(
        lambda: not [one for one in threading.enumerate() if one.name == "backup-main"],
        "nothing tells any more",
    )


def at(files: int) -> Progress:
    return Progress(
        phase="reading",
        path="recordings/agent01/call-1.wav",
        files=files,
        bytes_done=files << 20,
        bytes_new=files << 19,
    )


def test_progress_ends_with_the_full_share(
    prefect: Prefect,
) -> None:
    with progress_shown("My_Set", 200, OFTEN) as report:
        report(at(50))
        wait_until(lambda: bool(prefect.told), "it is shown")
        report(at(500))
        wait_until(lambda: prefect.told[-1][0] != 25.0, "it is shown again")
    assert prefect.told[0] == (25.0, "50 files, 50 MiB read, 25 MiB stored")
    assert 99.0 in [percent for percent, _ in prefect.told]
    assert prefect.told[-1][0] == 100.0
    assert prefect.keys == ["backup-my-set"]
    assert "agent01" not in str(prefect.told)


def test_failed_backup_is_not_shown_as_done(prefect: Prefect) -> None:
    def fail() -> None:
        with progress_shown("main", 10, OFTEN) as report:
            report(at(5))
            raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        fail()
    assert [percent for percent, _ in prefect.told][-1] == 50.0


def test_a_set_without_a_last_backup_shows_counts(prefect: Prefect) -> None:
    with progress_shown("main", 0, OFTEN) as report:
        report(at(3))
        wait_until(lambda: bool(prefect.told), "it is shown")
    assert prefect.told[0] == (0.0, "3 files, 3 MiB read, 1 MiB stored")


def test_a_server_that_hangs_holds_up_nothing(
    prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefect.hangs = threading.Event()
    monkeypatch.setattr(module, "LAST_REPORT_SECONDS", 0.05)
    with progress_shown("main", 10, OFTEN) as report:
        report(at(1))
        wait_until(lambda: prefect.calls == 1, "it was asked")
        for files in range(1000):
            report(at(files))
    assert prefect.told == []


def test_refusing_server_raises_nothing(prefect: Prefect) -> None:
    prefect.refuses = True
    with progress_shown("main", 10, OFTEN) as report:
        report(at(1))
        wait_until(lambda: prefect.calls == 3, "it was tried")
        report(at(2))
    assert prefect.calls == 3


def test_a_run_that_began_nothing_shows_nothing(prefect: Prefect) -> None:
    def refuse() -> None:
        with progress_shown("main", 10, OFTEN):
            raise OSError("under way")

    with pytest.raises(OSError, match="under way"):
        refuse()
    assert prefect.calls == 0
