"""Location of the tour, and what remains after a failure."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from demo import recovery_chapters, server_processes, setup_chapter, tour
from demo.call_centre import Scale
from demo.tour_output import TourOutput
from flows.prefect_server import PrefectServer
from standfast.cli.terminal.output import discard_output
from standfast.errors import StandfastError, UsageError
from tests.servers import need

SMALL = Scale(calls=8, call_seconds=46, customers=12, agents=6, taken_over=3, innocent=1)


class _NoEngine:
    """Stands for Prefect where a test ends before anything is carried out."""

    def __init__(self, config_file: Path) -> None:
        assert config_file.exists()

    def __enter__(self) -> "_NoEngine":
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def wait(self) -> PrefectServer:
        return PrefectServer(url="http://127.0.0.1:9/api", pid=0)


def test_folder_with_foreign_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.odt").write_text("three years of work")
    with pytest.raises(UsageError, match="did not"):
        tour.run(tmp_path, output=TourOutput(out=io.StringIO()))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.odt"]


def test_a_file_is_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(UsageError, match="did not"):
        tour.run(tmp_path / "file", output=TourOutput(out=io.StringIO()))


def test_tour_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        with pytest.raises(StandfastError, match="No space left on device") as told:
            tour.run(tmp_path / "place", output=TourOutput(out=full))
        discard_output(full)
    assert "start again with --again" in str(told.value)


def test_failed_tour_stops_servers_and_keeps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("scim2-server", "it is the directory of the demo; install the dev requirements")
    need("aiosmtpd", "it is the mail server of the demo; install the dev requirements")

    def fails(tour: object) -> None:
        raise StandfastError("a check failed")

    monkeypatch.setattr(setup_chapter, "Engine", _NoEngine)
    monkeypatch.setattr(recovery_chapters, "first_backup", fails)
    folder = tmp_path / "place"
    for is_again in (False, True):  # the demo makes its own files again
        with pytest.raises(StandfastError, match="check failed"):
            tour.run(folder, is_again=is_again, scale=SMALL, output=TourOutput(out=io.StringIO()))
        assert (folder / "standfast.toml").exists()
        noted = json.loads((folder / server_processes.SERVERS_FILE).read_text())
        assert [one["name"] for one in noted] == ["directory", "mail", "prefect"]
        assert server_processes.stop(folder) == 0
    (folder / "mine.txt").write_text("an afternoon's work")
    with pytest.raises(UsageError, match="demo --again"):
        tour.run(folder, output=TourOutput(out=io.StringIO()))
    assert (folder / "mine.txt").exists()


def test_suggested_commands_work_without_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (line,) = tour._path_commands()
    assert line == f'export PATH="{Path(sys.executable).parent}:$PATH"'
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert tour._path_commands() == []


def test_terminal_shows_progress_of_long_work() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    output = TourOutput(out=out)
    seen = False
    with output.show_progress("counting", lambda: (3, 7)):
        server_processes.wait_for(lambda: "counting 3 of 7" in out.getvalue(), "the progress line")
        seen = True
    assert seen
    assert out.getvalue().endswith("\r\x1b[K")


def test_elsewhere_long_work_is_silent() -> None:
    out = io.StringIO()
    with TourOutput(out=out).show_progress("counting", lambda: (3, 7)):
        pass
    assert out.getvalue() == ""


def test_failed_chapter_is_not_counted() -> None:
    output = TourOutput(out=io.StringIO())
    with output.chapter("good"):
        pass
    with pytest.raises(ValueError, match="no"), output.chapter("bad"):
        raise ValueError("no")
    assert [told.title for told in output.chapters] == ["good"]
