"""`serve --role`: each process does the work of its role and no other."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from flows.deployments import deployments
from flows.roles import ROLES
from flows.serve_loop import ServePart, Serving
from flows.serve_process import serve
from standfast.config import load
from standfast.errors import ConfigurationError, Refused
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.health.watchdog import keep_watch
from tests.flows.installations import (
    furnish_with_incidents,
    is_over,
    open_exercise,
    said,
    serving,
    ways,
)
from tests.servers import START_SECONDS, wait_until
from tests.usecases.backup_installation import furnish, installation_at

EACH_MINUTE = '\n[drills.schedule]\nset.main = "* * * * *"\n'


def test_drill_machine_schedules_only_drills(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    text = config_file.read_text() + '[backup]\nread_schedule = "0 8 * * 6"\n'
    config_file.write_text(text + '[backup.keeping]\nschedule = "0 4 * * *"\n')
    config = load(config_file)
    everything = {one.flow_name for one in deployments(config_file, config)}
    drills = {one.flow_name for one in deployments(config_file, config, ROLES["drills"])}
    assert drills == {"restore-drill"}
    assert everything > drills | {"nightly-backup", "keep-repository", "daily-verification"}


def test_drill_machine_needs_an_identity(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"drills\.identity"):
        serve(furnish(tmp_path), role_name="drills")


def test_drill_machine_watches_only_drills(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        open_exercise(installation)
        outcome = keep_watch(installation, "serve", only_drills=True)
        assert (outcome.resumed, outcome.sets, outcome.fresh) == ((), (), ())


def test_drill_machine_is_no_responder(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        runners, now = installation.ledger.runners, installation.clock()
        runners.register(None, ROLES["drills"].way, now)
        assert (runners.live(None, now), runners.serve_hosts(now)) == ([], set())


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_drill_machine_never_starts_a_backup(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path, EACH_MINUTE)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        text = config_file.read_text().replace('"30 2 * * *"', '"* * * * *"')
        config_file.write_text(text)
        case = open_exercise(installation)
        with serving(config_file, role="drills"):
            wait_until(
                lambda: any(run.ended_at for run in installation.ledger.runs.all("drill")),
                "a drill has run",
                seconds=240,
            )
            assert [run.way for run in installation.ledger.runs.all("backup")] == ["direct"]
            assert installation.ledger.timeline(case)[-1].action != "runner.started"
        (drill, *_) = installation.ledger.runs.all("drill")
        assert (drill.subject, drill.state, drill.way) == ("main", "done", "prefect")
        assert "the scheduled backup of main" not in said(config_file)


@pytest.mark.parametrize(
    ("name", "resumes", "watches"),
    [
        ("api", False, False),
        ("watch", False, True),
        ("respond", True, False),
        ("worker", False, True),
    ],
)
def test_loop_does_only_the_work_of_its_role(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, resumes: bool, watches: bool
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    with installation_at(config_file) as installation:
        case = open_exercise(installation)
        loop = Serving(
            installation=installation, config_file=config_file, prefect=None, role=ROLES[name]
        )
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            if resumes:
                wait_until(lambda: is_over(installation, case), "the exercise is over")
            wait_until(lambda: loop.is_quiet, "it has nothing left to do")
        finally:
            loop.stop.set()
            thread.join(START_SECONDS)
        assert ways(installation, case) == (["serve"] if resumes else [])
    assert ("the scheduled backup of main did not run" in caplog.text) == watches


class Began(Exception):
    """The end of a `serve` that has passed all checks."""


def begin(config_file: Path, role: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Start `serve` in a role, call `meanwhile`, and end it with `Began`."""

    def parts_of(*_: object) -> Sequence[ServePart]:
        meanwhile()
        raise Began

    serve(config_file, role_name=role, parts_of=parts_of)


@pytest.mark.parametrize("held", ["api", "watch", "respond", "worker", "drills"])
def test_roles_of_a_site_have_own_locks(tmp_path: Path, held: str) -> None:
    site = '\n[serve]\nprefect = "http://127.0.0.1:9/api"\n'
    config_file = furnish_with_incidents(tmp_path, site)
    began: list[str] = []

    def begin_others() -> None:
        for role in ROLES:
            with suppress(Refused):
                try:
                    begin(config_file, role)
                except Began:
                    began.append(role)

    with pytest.raises(Began):
        begin(config_file, held, begin_others)
    assert began == [role for role in ROLES if role not in ("all", held)]
    with pytest.raises(Began):
        begin(config_file, held)  # the lock was released


def test_one_role_excludes_others_without_a_site(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)

    def begin_another() -> None:
        with pytest.raises(Refused, match=r"serve\.prefect"):
            begin(config_file, "respond")

    with pytest.raises(Began):
        begin(config_file, "api", begin_another)
