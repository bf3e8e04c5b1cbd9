"""Checks of recent practice, as days pass."""

from datetime import date
from pathlib import Path

import pytest

from standfast.errors import ExitStatus
from standfast.records import Mode
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.exercises.tabletop import answer, current_inject, find_exercise, start
from standfast.usecases.health import adapter_checks, backup_checks, local_checks
from standfast.usecases.health.check_results import Check, Report, Verdict, fail, lacking, ok, warn
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.readiness import (
    QUESTIONS,
    Readiness,
    readiness,
    write_readiness_page,
)
from standfast.usecases.health.recency_checks import (
    DRILLS,
    EXERCISES,
    LEAVERS,
    LOGS,
    RECOVERY_POINTS,
    practice,
)
from standfast.usecases.incidents.lifecycle import open_incident
from tests.usecases.alarmed import WatchedHost
from tests.usecases.backup_installation import damage_a_pack, identity
from tests.usecases.installations import furnish, installation_at


def told(host: WatchedHost, part: str) -> dict[str, Check]:
    return {
        one.found.partition(":")[0]: one for one in practice(host.installation) if one.part == part
    }


def test_set_without_recent_point_is_reported(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    seen = told(host, RECOVERY_POINTS)
    assert (seen["main"].verdict, seen["other"].verdict) == (Verdict.OK, Verdict.FAIL)
    assert seen["other"].what_to_do == "`standfast backup run other`"
    host.forward(hours=25)  # the service's RPO is a day
    main = told(host, RECOVERY_POINTS)["main"]
    assert main.verdict is Verdict.FAIL
    assert main.found == "main: the newest complete point is 1 d 1 h old; limit 1 d"


def test_drill_counts_for_a_year(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    never = told(host, DRILLS)["main"]
    assert (never.verdict, never.found) == (
        Verdict.WARN,
        "main: never drilled",
    )
    assert never.is_lacking
    outcome = run_drill(host.installation, "main", identity(host.folder))
    assert outcome.exit_status is ExitStatus.DONE
    assert told(host, DRILLS)["main"].verdict is Verdict.OK
    host.forward(days=367)
    old = told(host, DRILLS)["main"]
    assert (old.verdict, old.found) == (Verdict.WARN, "main: the last drill was 367 d ago")
    damage_a_pack(host.folder)
    run_drill(host.installation, "main", identity(host.folder))
    failed = told(host, DRILLS)["main"]
    assert failed.verdict is Verdict.FAIL
    assert "failed" in failed.found


def test_fast_clock_drill_hides_no_failure(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    host.forward(days=400)
    run_drill(host.installation, "main", identity(host.folder))
    host.forward(days=-400)
    damage_a_pack(host.folder)
    run_drill(host.installation, "main", identity(host.folder))
    host.forward(days=1)
    assert told(host, DRILLS)["main"].verdict is Verdict.FAIL


def test_plan_does_not_count_as_practice(
    tmp_path: Path,
) -> None:
    def untried() -> set[str]:
        (said,) = [
            one.found
            for one in practice(installation)
            if one.part == EXERCISES and one.verdict is Verdict.WARN
        ]
        return set(said.partition(": ")[2].split(", "))

    with installation_at(furnish(tmp_path)) as installation:
        everything = untried()
        assert {"account-takeover", "leaver", "ransomware"} <= everything
        assert "lock" not in everything
        accounts = {"accounts": ["agents:ada"]}
        open_incident(installation, "account-takeover", accounts, mode=Mode.PLAN)
        assert untried() == everything
        open_incident(installation, "account-takeover", accounts, mode=Mode.EXERCISE)
        assert untried() == everything - {"account-takeover"}
        begun = start(installation, find_exercise("ransomware")).incident
        assert untried() == everything - {"account-takeover"}, "nobody said anything yet"
        first = current_inject(installation, begun).inject
        assert first is not None
        answer(installation, begun, first.letters[0] if first.letters else "we would", ())
        assert untried() == everything - {"account-takeover", "ransomware"}


def test_unmasked_numbers_are_counted_not_shown(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    log = tmp_path / "logs" / "payments.log"
    with installation_at(config_file) as installation:

        def said() -> list[Check]:
            return [one for one in practice(installation) if one.part == LOGS]

        (clean,) = said()
        assert clean.verdict is Verdict.OK
        log.write_text("paid with 4111111111111111\nssn 123-45-6789\n")
        (found,) = said()
        assert found.verdict is Verdict.WARN
        assert "1 number like a payment card's and 1 number like a social-security" in found.found
        assert "4111" not in str(found)
        assert "6789" not in str(found)


def test_missing_staff_list_is_reported(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        (leavers,) = [one for one in practice(installation) if one.part == LEAVERS]
    assert leavers.verdict is Verdict.WARN
    assert leavers.what_to_do == "`standfast people import`"


def test_trouble_with_one_part_hides_no_other(
    host: WatchedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("standfast.usecases.health.recency_checks.leavers", away)
    monkeypatch.setattr(host.installation.ledger.staff, "all", away)
    seen = {one.part: one for one in practice(host.installation)}
    assert seen[LEAVERS].verdict is Verdict.FAIL
    assert "Input/output error" in seen[LEAVERS].found
    assert seen[RECOVERY_POINTS]


def test_every_part_that_is_tried_answers_a_question(host: WatchedHost) -> None:
    answered = {part for parts in QUESTIONS.values() for part in parts}
    tried = check_installation(host.folder / "standfast.toml", env={})
    looked_at = {*local_checks.CHECKS, *backup_checks.CHECKS, *adapter_checks.CHECKS}
    assert {
        one.part for one in (*tried.checks, *practice(host.installation))
    } | looked_at <= answered


@pytest.mark.parametrize(
    ("checks", "answer", "status"),
    [
        ((ok("keys", "closed"),), "Yes.", ExitStatus.DONE),
        ((warn("keys", "open", "close them"),), "Yes, with 1 risk.", ExitStatus.DONE),
        (
            (warn("keys", "open", "close"), lacking("senders", "nobody", "add one")),
            "No: 1 part not set up, 1 risk.",
            ExitStatus.PARTIAL,
        ),
        (
            (warn("keys", "open", "close"), fail("senders", "mail: away", "start it")),
            "No: 1 error, 1 risk.",
            ExitStatus.PARTIAL,
        ),
        (
            (Check(part="ledger", verdict=Verdict.FAIL, found="cut", is_damage=True),),
            "No: 1 error.",
            ExitStatus.DAMAGED,
        ),
    ],
)
def test_readiness_is_the_worst_part(
    tmp_path: Path, checks: tuple[Check, ...], answer: str, status: ExitStatus
) -> None:
    seen = Readiness(checks=Report(checks=checks), today=date(2026, 12, 1))
    assert (seen.answer, seen.exit_status) == (answer, status)


def test_part_that_is_not_set_up_means_no(host: WatchedHost) -> None:
    config_file = host.folder / "standfast.toml"
    seen = readiness(host.installation, check_installation(config_file, env={}))
    absent = {one.part for one in seen.checks.checks if one.is_lacking}
    assert {DRILLS, "deadlines", "triggers"} <= absent
    assert seen.exit_status is ExitStatus.PARTIAL


def test_page_shows_repairs_and_measures_first(host: WatchedHost) -> None:
    run_backup(host.installation, "main", "direct")
    run_drill(host.installation, "main", identity(host.folder))
    host.forward(hours=30)
    seen = readiness(host.installation, check_installation(host.folder / "standfast.toml", env={}))
    page = write_readiness_page(host.installation, seen, host.folder / "r.html").read_text()
    assert "Could we respond to a breach tonight?" in page
    assert page.index("the newest complete point is") < page.index("readable and writable")
    assert "RTO" in page
    assert "promised 1 d" in page
