"""Commands check restored data, without secrets and in limited time."""

import json
import sys
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.restore_drill import run_drill
from tests.servers import growing, wait_until
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at

PROBE = """
[[services.crm.checks]]
kind = "command"
command = ["{python}", "-c", "{code}"]
timeout_seconds = {seconds}
"""


def probe(code: str, seconds: float = 20) -> str:
    return SERVICE + PROBE.format(python=sys.executable, code=code, seconds=seconds)


def test_probe_runs_in_the_tree_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDFAST_PASSPHRASE", "not for probes")
    code = (
        "import os, pathlib; "
        "ok = pathlib.Path('crm/crm.db').is_file() and 'STANDFAST_PASSPHRASE' not in os.environ; "
        "raise SystemExit(not ok)"
    )
    with installation_at(furnish(tmp_path, probe(code))) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DONE
    assert [check.name for check in outcome.checks if check.name.startswith("command")] == [
        f"command {Path(sys.executable).name}"
    ]


def test_failing_probe_fails_the_drill(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path, probe("raise SystemExit(3)"))) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.FAILED
    assert outcome.checks[2].reason == "it ended with 3"


def test_output_of_failed_probe_is_kept_privately(tmp_path: Path) -> None:
    code = "import sys; print('x' * 100000); sys.exit('no row for Ada')"
    with installation_at(furnish(tmp_path, probe(code))) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
        assert outcome.report is not None
        assert outcome.output is not None
        assert "no row for Ada" in outcome.checks[2].output
        assert "no row for Ada" in json.dumps(outcome.as_json())
        assert "no row for Ada" in outcome.output.read_text()
        assert outcome.output.stat().st_mode & 0o777 == 0o600
        assert outcome.output.stat().st_size < 20_000
        (row,) = installation.ledger.runs.all("drill")
        assert "Ada" not in f"{row.summary}{outcome.report.read_text()}"
        run_drill(installation, "main", identity(tmp_path))
    assert not outcome.output.exists()


def test_output_of_passed_probe_is_dropped(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path, probe("print('x' * 10**6)"))) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DONE
    assert outcome.output is None


def test_hanging_probe_is_ended_with_children(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    code = (
        "import pathlib, subprocess; "
        f"child = subprocess.Popen(['sleep', '600']); "
        f"pathlib.Path('{noted}').write_text(str(child.pid)); child.wait()"
    )
    for seconds in growing(1.5):
        folder = tmp_path / f"{seconds:g}"
        folder.mkdir()
        with installation_at(furnish(folder, probe(code, seconds))) as installation:
            run_backup(installation, "main", "direct")
            outcome = run_drill(installation, "main", identity(folder))
        assert outcome.exit_status is ExitStatus.FAILED
        assert f"did not end within {seconds:g} s" in outcome.checks[2].reason
        if noted.exists():
            break
    wait_until(lambda: not _runs(int(noted.read_text())), "the probe's child is gone")


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_missing_probe_fails_only_its_check(tmp_path: Path) -> None:
    more = SERVICE + '[[services.crm.checks]]\nkind = "command"\ncommand = ["/no/such/probe"]\n'
    with installation_at(furnish(tmp_path, more)) as installation:
        run_backup(installation, "main", "direct")
        outcome = run_drill(installation, "main", identity(tmp_path))
    assert [check.state for check in outcome.checks[1:3]] == [CheckState.PASSED, CheckState.FAILED]
    assert "cannot be started" in outcome.checks[2].reason
