"""`standfast check` reports whether each trigger would work."""

from pathlib import Path

from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from tests.console.installations import ALERTS, ENV, SIEM, furnish_with
from tests.console.test_suricata_watcher import TRIGGERS


def told(config_file: Path, env: dict[str, str]) -> list[tuple[Verdict, str]]:
    report = check_installation(config_file, env=env)
    return [(one.verdict, one.found) for one in report.checks if one.part == "triggers"]


def test_each_working_trigger_describes_its_effect(tmp_path: Path) -> None:
    found = told(furnish_with(tmp_path, SIEM, ALERTS), ENV)
    assert (Verdict.OK, "siem: acts by itself, with lock") in found
    assert (Verdict.OK, "alerts: plans and pages, with lock") in found
    assert (Verdict.WARN, "siem: nobody is enrolled to be paged") in found


def test_broken_trigger_is_named_without_its_secret(tmp_path: Path) -> None:
    broken = SIEM.replace('"lock"', '"no-such"')
    env = {**ENV, "SIEM_SECRET": "whsec_c2hvcnQ=", "SIEM_NEXT": "", "ALERT_TOKEN": "short"}
    found = told(furnish_with(tmp_path, broken, ALERTS, TRIGGERS), env)
    failures = "\n".join(text for verdict, text in found if verdict is Verdict.FAIL)
    assert "siem: playbook 'no-such'" in failures
    assert "env:SIEM_SECRET: a webhook secret needs 24 to 64 bytes" in failures
    assert "env:SIEM_NEXT: missing or empty" in failures
    assert "alerts: env:ALERT_TOKEN is shorter than 24 characters" in failures
    assert "c2hvcnQ" not in failures
    assert any("eve.json does not exist yet" in text for _, text in found)
