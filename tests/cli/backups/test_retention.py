"""`standfast backup keep`, from the owner's ceremony to removed packs."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.stores.directory_keeper import DirectoryKeeperStore
from standfast.cli.terminal.output import ShowProgress
from standfast.host_name import host_name
from tests.cli.desk import Desk


def age(vault: Path, days: float) -> None:
    """Set back the times of the objects in the vault."""
    for path in vault.rglob("*"):
        if path.is_file():
            moment = path.stat().st_mtime - days * 86_400
            os.utime(path, (moment, moment))


@pytest.fixture
def kept(desk: Desk, installation: Path) -> Path:
    """An installation with a keeper and two points; the first may expire."""
    config = installation / "standfast.toml"
    short = "\n".join(f'{name} = "31d"' for name in ("everything", "daily", "weekly", "monthly"))
    table = "\n[backup.keeping]\n"
    written = config.read_text()
    assert table in written, "`init` writes every table"
    config.write_text(written.replace(table, f"{table}{short}\n"))
    key = ("--owner-key", installation / "offline/owner.json")
    keeper = ("--keeper-file", installation / "keys/keeper.json")
    assert desk.run("backup", "owner", "set-keeper", *keeper, *key).status == 0
    note = desk.folder / "source/note.txt"
    for number in range(2):
        note.write_bytes(os.urandom(30_000 + number))
        assert desk.run("backup", "run").status == 0
        if number == 0:
            age(installation / "vault", 40)
    return installation


def test_run_removes_exactly_the_planned_points(
    desk: Desk, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((kept / "vault").rglob("*"))
    for words in (("plan",), ("--dry-run",)):
        answer = desk.run("backup", "keep", *words)
        assert answer.status == 4
        assert "1 of 2 recovery points would expire in one run" in answer.out
        assert "if it is right, as after a long hold, run once with --most 50" in answer.out
        assert "host-1/0000000001" in answer.out
    assert sorted((kept / "vault").rglob("*")) == before
    refused = desk.run("backup", "keep")
    assert refused.status == 4
    assert "1 of 2 recovery points would expire" in refused.err

    answer = desk.run("backup", "keep", "--most", "50")
    assert answer.status == 0, answer
    assert "1 recovery point expired." in answer.out
    assert "to delete in a week" in answer.out
    listed = desk.json("backup", "list")
    assert [point["point"] for point in listed["points"]] == ["host-1/0000000002"]

    later = datetime.now(UTC) + timedelta(days=8)
    monkeypatch.setattr(DirectoryKeeperStore, "clock", lambda _: later)
    stopped = desk.run("backup", "keep").err
    assert (
        "Find out which clock is right; if the store's is, run again with --clock-is-right"
        in stopped
    )
    document = desk.json("backup", "keep", "--clock-is-right")
    assert len(document["removed"]) == document["counts"]["dropped"] > 0
    assert document["counts"]["freed_bytes"] > 30_000
    answer = desk.run(
        "backup", "restore", "latest", "--to", "out", "--identity", kept / "offline/identity.txt"
    )
    assert answer.status == 0
    source = desk.folder / "source/note.txt"
    assert (desk.folder / "out/source/note.txt").read_bytes() == source.read_bytes()


def test_status_shows_present_and_expiring_points(desk: Desk, kept: Path) -> None:
    answer = desk.run("backup", "keep", "status")
    assert answer.status == 0, "a status answers, whatever a run would do"
    for part in ("2 recovery points", "needed", "marked", "Freed by month", "would be refused"):
        assert part in answer.out
    document = desk.json("backup", "keep", "status", "--most", "50")
    stock = document["stock"]
    total = sum(path.stat().st_size for path in (kept / "vault/w/host-1/p").glob("*/*"))
    names = ("live", "expired", "unnamed", "marked", "dropped")
    assert sum(stock[name]["bytes"] for name in names) == total
    assert document["refusal"] is None


def test_lost_packs_are_distrusted(desk: Desk, kept: Path) -> None:
    packs = (kept / "vault/w/host-1/p").glob("*/*")
    newest = [path for path in packs if path.stat().st_mtime > time.time() - 86_400]
    max(newest, key=lambda path: path.stat().st_size).unlink()
    report = desk.folder / "report.json"
    report.write_text(json.dumps(desk.json("backup", "verify")))
    answer = desk.run("backup", "keep", "--most", "50", "--distrust", report)
    assert answer.status == 3
    assert "1 lost pack distrusted" in answer.out
    assert "are missing" in answer.out


@pytest.mark.parametrize("words", [("now",), ("--most", "101"), ("--distrust", "absent.json")])
def test_invalid_retention_arguments_are_named(
    desk: Desk, kept: Path, words: tuple[str, ...]
) -> None:
    assert desk.run("backup", "keep", *words).status == 2


def test_plan_and_status_show_effect_of_hold(desk: Desk, kept: Path) -> None:
    assert desk.run("backup", "keep", "hold", "inc-2026-0001").status == 0
    plan = desk.run("backup", "keep", "plan")
    assert (plan.status, desk.run("backup", "keep").status) == (0, 0), "a plan is as its run"
    assert "0 recovery points would be expired." in plan.out
    assert "Nothing would be expired: held for inc-2026-0001" in plan.out
    assert "carries it out" not in plan.out
    assert "To end a hold: `standfast incident undo INCIDENT --step STEP`, or" in plan.out
    assert "held for inc-2026-0001" in desk.run("backup", "keep", "status").out
    for words in (("plan",), ("status",), ("--dry-run",)):
        document = desk.json("backup", "keep", *words)
        assert "held for inc-2026-0001" in document["hold"]
        assert (document["expired"], document["refusal"]) == ([], None)


@pytest.mark.parametrize("words", [("run",), ("plan",), ("status",)])
def test_keeper_run_shows_its_progress(
    desk: Desk, kept: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, int]] = []

    @contextmanager
    def watched() -> Iterator[ShowProgress]:
        yield lambda *one: told.append(one)

    monkeypatch.setattr("standfast.cli.terminal.invocation.progress", watched)
    desk.run("backup", "keep", *words)
    assert ("reading recovery points", 2, 2) in told


def test_release_of_unknown_hold_is_refused(desk: Desk, kept: Path) -> None:
    assert desk.run("backup", "keep", "hold", "inc-2026-0001").status == 0
    mistyped = desk.run("backup", "keep", "release", "inc-2026-0010")
    assert mistyped.status == 2
    assert "hold inc-2026-0010: unknown; the known names are: inc-2026-0001" in mistyped.err
    assert desk.run("backup", "keep", "release", "inc-2026-0001").out == "No hold is left.\n"


def test_missing_keeper_names_its_creator(desk: Desk, installation: Path) -> None:
    answer = desk.run("backup", "keep")
    assert answer.status == 2
    assert "The owner creates the key" in answer.err


def test_foreign_hold_is_listed_and_released(desk: Desk, kept: Path) -> None:
    assert desk.run("backup", "keep", "hold", "inc-2026-0001").status == 0
    (kept / "keys" / "holds").rename(kept / "keys" / "elsewhere")
    assert "held for inc-2026-0001 (since " in desk.run("backup", "keep", "plan").out
    assert desk.json("backup", "keep", "hold", "inc-2026-0002")["holds"] == [
        "inc-2026-0001",
        "inc-2026-0002",
    ]
    answer = desk.run("backup", "keep", "release", "inc-2026-0001")
    assert answer.out.startswith("Held for inc-2026-0002: nothing expires.")
    assert f"The hold was created on {host_name()}: release it there" in answer.out
    answer = desk.run("backup", "keep", "release", "inc-2026-0002")
    assert answer.out == "No hold is left.\n"
