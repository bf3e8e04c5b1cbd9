"""Pages of drills and recoveries, verified on another machine."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest

from standfast.errors import Damaged, ExitStatus, UsageError
from standfast.evidence import standfast_verify_report
from standfast.records import moment
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.service_drill import drill_services
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.recovery_status import recovery_status
from standfast.usecases.reports.recovery_reports import (
    write_drill_report,
    write_recovery_report,
)
from tests.usecases.backup_installation import SERVICE, furnish, identity, installation_at
from tests.usecases.installations import approve_as
from tests.usecases.recovery.recovery_installation import opened, prepared

CONTROLS = (
    "ISO 27001:2022 A.8.13",
    "ISO 27001:2022 A.8.14",
    "SOC 2 A1.3",
    "PCI DSS 12.10.2",
    "HIPAA 164.308(a)(7)",
    "NIS2 Implementing Regulation 2024/2690 Annex 4.2.6",
    "DORA Art. 12",
    "NIST SP 800-53 CP-4",
    "NIST SP 800-53 CP-9",
)
TOO_MANY_ROWS = SERVICE.replace("customers = 10", "customers = 1000")


@pytest.fixture
def drilled(tmp_path: Path) -> Iterator[Installation]:
    """An installation with two drills of a service that lacks rows."""
    with installation_at(furnish(tmp_path, TOO_MANY_ROWS)) as installation:
        run_backup(installation, "main", "direct")
        drill_services(installation, ["crm"], identity(tmp_path))
        run_drill(installation, "main", identity(tmp_path), "latest", "direct")
        yield installation


def verified(
    capsys: pytest.CaptureFixture[str], page: Path, *more: str
) -> tuple[int, dict[str, list[str]]]:
    capsys.readouterr()
    status = standfast_verify_report.main([str(page), "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def key_of(installation: Installation) -> str:
    return installation.ledger.cipher.signing_key().public_key().public_bytes_raw().hex()


def test_page_and_chain_agree(
    drilled: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = write_drill_report(drilled, None, tmp_path / "main.html")
    before = sorted(written.report.parent.glob("*.json"))[written.number - 2]
    key = key_of(drilled)
    status, found = verified(capsys, written.page, "--ledger-key", key, "--previous", str(before))
    assert (status, found["unchecked"]) == (ExitStatus.DONE, [])
    status, found = verified(capsys, written.report, "--ledger-key", key)
    assert (status, len(found["unchecked"])) == (ExitStatus.PARTIAL, 1)


@pytest.mark.parametrize("fault", ["page", "report", "other report", "key", "previous", "cut"])
def test_changed_report_is_found(
    fault: str, drilled: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = write_drill_report(drilled, None, tmp_path / "main.html")
    page, key, more = written.page.read_text(), key_of(drilled), list[str]()
    if fault == "page":
        written.page.write_text(page.replace("failed", "passed"))
    if fault == "report":
        written.page.write_text(written.report.read_text().replace('"failed"', '"passed"'))
    if fault == "other report":
        other = write_drill_report(drilled, "crm", tmp_path / "crm.html").page.read_text()
        last_line = other.splitlines()[-1]
        written.page.write_text("\n".join([*page.splitlines()[:-1], last_line, ""]))
    if fault == "key":
        key = "00" * 32
    if fault == "previous":
        more = ["--previous", str(written.report)]
    if fault == "cut":
        written.page.write_text("\n".join(page.splitlines()[:-1]))
    status, found = verified(capsys, written.page, "--ledger-key", key, *more)
    assert (status, len(found["problems"])) == (ExitStatus.DAMAGED, 1)


def test_gap_keeps_its_due_date(drilled: Installation, tmp_path: Path) -> None:
    run_drill(drilled, "main", identity(tmp_path), "latest", "direct")
    reports = [
        json.loads(path.read_text())["report"]
        for path in sorted((tmp_path / "drills" / "reports").glob("*.json"))
    ]
    first, second = (report for report in reports[-2:])
    gaps = {gap["key"]: gap for gap in first["gaps"]}
    assert any("check failed" in gap["gap"] for gap in gaps.values())
    assert second["gaps"] == first["gaps"]
    for gap in gaps.values():
        assert gap["owner"] == "Head of operations"
        assert moment(gap["due"]) - moment(gap["since"]) == timedelta(days=30)


def test_drill_page_shows_its_parts(drilled: Installation, tmp_path: Path) -> None:
    page = write_drill_report(drilled, "crm", tmp_path / "crm.html").page.read_text()
    for part in (
        "key obtained",
        "Head of operations",
        "comparison with the live source",
        "RTO and RPO over time",
        *CONTROLS,
    ):
        assert part in page
    assert "compliant" not in page.lower()


def print_rules(page: str) -> str:
    """Return the rules of all `@media print` blocks of a page."""
    blocks = re.findall(r"@media print \{((?:[^{}]|\{[^{}]*\})*)\}", page)
    return "\n".join(blocks)


def test_report_prints_black_on_white_and_whole(drilled: Installation, tmp_path: Path) -> None:
    page = write_drill_report(drilled, "crm", tmp_path / "crm.html").page.read_text()
    rules = print_rules(page)
    assert page.index("@media print") > page.index("prefers-color-scheme: dark")
    assert re.search(r":root \{[^}]*--paper: #ffffff;[^}]*--ink: #000000;", rules)
    assert re.search(r"@page \{ size: A4;", rules)
    for kept_together in ("tr", "figure", r"\.hashes", r"\.set"):
        assert re.search(
            rf"(?m)^\s*(?:[^{{}}]*, )?{kept_together}\b[^{{}}]*\{{ break-inside: avoid", rules
        )
    assert "display: none" not in rules
    assert not re.search("<(nav|form|button|script|details)", page), "nothing to hide on paper"


def test_unknown_drill_is_refused(drilled: Installation, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_drill_report(drilled, "no-such", tmp_path / "page.html")


def test_no_page_hides_a_broken_chain(drilled: Installation, tmp_path: Path) -> None:
    (first, *_) = sorted((tmp_path / "drills" / "reports").glob("*.json"))
    first.unlink()
    with pytest.raises(Damaged):
        write_drill_report(drilled, None, tmp_path / "page.html")


def test_recovery_report_is_filed_and_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        first = write_recovery_report(installation, case, tmp_path / "first.html")
        assert "not complete" in first.page.read_text()
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        written = write_recovery_report(installation, case, tmp_path / "recovery.html")
        page = written.page.read_text()
        assert "key obtained" in page
        assert "crm: RTO" in page
        event = installation.ledger.timeline(case)[-1]
        assert (event.action, event.detail["report"]) == ("recovery.reported", written.digest)
        more = ["--ledger-key", key_of(installation), "--previous", str(first.page)]
        status, _ = verified(capsys, written.page, *more)
        assert status == ExitStatus.DONE


def test_recovery_without_check_has_no_recovery_time(tmp_path: Path) -> None:
    unchecked = SERVICE.partition("[[services")[0]
    with installation_at(prepared(tmp_path, unchecked)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        (service,) = recovery_status(installation, case).services
        assert service.rto_actual_ms is None
        page = write_recovery_report(installation, case, tmp_path / "r.html").page.read_text()
        assert "Measured: crm: RTO not measured" in page


def test_recovery_report_names_skipped_checks(tmp_path: Path) -> None:
    both = SERVICE.replace('sets = ["main"]', 'sets = ["main", "other"]')
    with installation_at(prepared(tmp_path, both)) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        lifecycle.advance(installation, case, "direct")
        parts = {part.set_name: part for part in recovery_status(installation, case).sets}
        ((name, reason),) = parts["other"].skipped["crm"].items()
        assert reason
        assert parts["other"].as_json()["skipped"] == {"crm": {name: reason}}
        assert parts["main"].skipped == {}
        page = write_recovery_report(installation, case, tmp_path / "r.html").page.read_text()
        assert "Checks: 1 passed, 0 failed, 1 skipped." in page
        assert reason in unescape(page)


def test_removed_recovery_report_is_named(tmp_path: Path) -> None:
    with installation_at(prepared(tmp_path)) as installation:
        case = opened(installation)
        removed = write_recovery_report(installation, case, tmp_path / "first.html")
        removed.report.unlink()
        (problem,) = list_drills(installation).problems
        assert problem.where == f"run {removed.report.stem.partition('-')[2]}"
        with pytest.raises(Damaged):  # an improved report with the same number is refused
            write_recovery_report(installation, case, tmp_path / "second.html")
