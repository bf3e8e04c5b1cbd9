"""YARA scans of restored files; the report has the rule set's hash."""

import json
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.evidence.review.yara_rules import load_rules
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.file_sample import new_sample
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.yara_scan import YARA_CHECK
from tests.servers import need
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at

RULE = 'rule %s { strings: $text = "%s" condition: $text }\n'


@pytest.fixture(autouse=True)
def _needs_yara() -> None:
    need("yara_x", "requirements/extras/yara.txt")


def drilled(folder: Path, text: str, *, is_sample: bool = False) -> DrillOutcome:
    """Drill a set with a YARA rule for a text."""
    config_file = furnish(folder, SERVICE + '\n[drills]\nyara_rules = "rules"\n')
    (folder / "rules" / "more").mkdir(parents=True)
    (folder / "rules" / "more" / "ransom.yar").write_text(RULE % ("ransom_note", text))
    (folder / "rules" / "readme.txt").write_text("no rule")
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        sample = new_sample(100, 1) if is_sample else None
        return run_drill(installation, "main", identity(folder), "latest", "direct", sample=sample)


def test_clean_files_match_no_rule(tmp_path: Path) -> None:
    outcome = drilled(tmp_path, "wallet-4711")
    (check,) = [check for check in outcome.checks if check.name == YARA_CHECK]
    assert (check.state, outcome.exit_status) == (CheckState.PASSED, ExitStatus.DONE)
    rules = load_rules(tmp_path / "rules", "rules")
    assert outcome.report is not None
    report = json.loads(outcome.report.read_text())["report"]
    assert any(rules.digest in check["reason"] for check in report["checks"])


@pytest.mark.parametrize("is_sample", [False, True])
def test_matching_file_fails_the_drill(is_sample: bool, tmp_path: Path) -> None:
    outcome = drilled(tmp_path, "the customer rang", is_sample=is_sample)
    (check,) = [check for check in outcome.checks if check.name == YARA_CHECK]
    assert (check.state, outcome.exit_status) == (CheckState.FAILED, ExitStatus.FAILED)
    assert "ransom_note" in check.reason
    assert "notes.txt" not in check.reason
    assert "notes.txt" in check.output
    assert outcome.rto_ms is None
