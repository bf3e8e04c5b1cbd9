"""`standfast recover`: planned, opened, approved and undone."""

import pytest

from standfast.errors import ExitStatus
from tests.cli.desk import Desk
from tests.usecases.backup_installation import SERVICE
from tests.usecases.installations import PASSPHRASES
from tests.usecases.recovery.recovery_installation import prepared, tree

NOTE = "ransom-note.txt"


@pytest.fixture
def at_recovery(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk of an installation with backups, targets and approvers."""
    monkeypatch.setenv("STANDFAST_CONFIG", str(prepared(desk.folder)))
    return desk


def test_plan_shows_later_name_of_data(at_recovery: Desk) -> None:
    before = tree(at_recovery.folder / "live")
    answer = at_recovery.run("recover", "plan", "crm")
    assert answer.status == ExitStatus.DONE
    assert "recordings.before-INCIDENT" in answer.out
    planned = at_recovery.json("recover", "plan", "crm")
    assert [target["has_data"] for target in planned["sets"]["main"]["targets"]] == [True, True]
    assert tree(at_recovery.folder / "live") == before


def test_plan_of_a_set_without_target_is_refused(at_recovery: Desk) -> None:
    config_file = at_recovery.folder / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(
        text.replace(
            f'[backup.sets.main.recovery.crm]\npath = "{at_recovery.folder}/live/crm.db"\n', ""
        )
    )
    answer = at_recovery.run("recover", "plan", "crm")
    assert answer.status == ExitStatus.REFUSED
    assert "[backup.sets.main.recovery.crm]" in answer.out


def test_plan_names_dependencies_that_are_left_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = SERVICE.replace("rpo_minutes = 1560", 'rpo_minutes = 1560\ndepends_on = ["telephony"]')
    needs += '\n[services.telephony]\nowner = "it"\nrto_minutes = 30\nrpo_minutes = 1560\n'
    config_file = prepared(desk.folder, needs + 'sets = ["other"]\n')
    monkeypatch.setenv("STANDFAST_CONFIG", str(config_file))
    assert "Not recovered: telephony, needed by crm." in desk.run("recover", "plan", "crm").out
    assert desk.json("recover", "plan", "crm")["omitted"] == {"telephony": ["crm"]}
    whole = desk.run("recover", "plan", "crm", "telephony")
    assert whole.status == ExitStatus.DONE
    assert "Not recovered" not in whole.out
    assert whole.out.index("Set other") < whole.out.index("Set main")


@pytest.mark.parametrize(
    "words",
    [
        ("plan",),
        ("plan", "crm", "--all"),
        ("plan", "no-such"),
        ("open", "no-such"),
        ("plan", "crm", "--point", "clean"),
        ("plan", "crm", "--indicator", "text:wallet-4711"),
    ],
    ids=" ".join,
)
def test_contradictory_words_are_refused(at_recovery: Desk, words: tuple[str, ...]) -> None:
    assert at_recovery.run("recover", *words).status == ExitStatus.USAGE


def test_recovery_is_opened_approved_and_undone(at_recovery: Desk) -> None:
    desk, live = at_recovery, at_recovery.folder / "live"
    desk.sign_in_with(PASSPHRASES["dana"])
    assert desk.run("recover", "open", "crm", "--as", "dana").status == ExitStatus.WAITS_FOR_PEOPLE
    desk.run("recover", "answer", "stop_writers", "all stopped", "--as", "dana")
    desk.sign_in_with(PASSPHRASES["lee"])
    desk.run("recover", "approve", "--digest", desk.asked()[:16], "--as", "lee")
    assert tree(live / "recordings") == tree(desk.folder / "recordings")
    (crm,) = desk.json("recover", "status")["recovery"]["services"]
    assert crm["rto"] == "met"
    desk.sign_in_with(PASSPHRASES["dana"])
    desk.run("recover", "undo", "--all", "--as", "dana")
    desk.sign_in_with(PASSPHRASES["lee"])
    desk.run("recover", "approve", "--digest", desk.asked()[:16], "--as", "lee")
    assert tree(live / "recordings") == {NOTE: b"pay\n"}


def test_recovery_is_stopped_resumed_and_closed(at_recovery: Desk) -> None:
    desk, live = at_recovery, at_recovery.folder / "live"
    before = tree(live)
    desk.sign_in_with(PASSPHRASES["dana"])
    desk.run("recover", "open", "crm", "--as", "dana")
    assert desk.run("recover", "stop", "--as", "dana").status == ExitStatus.DONE
    desk.run("recover", "answer", "stop_writers", "all stopped", "--as", "dana")
    assert "stopped" in desk.run("recover", "status").out
    resumed = desk.run("recover", "resume", "--as", "dana")
    assert resumed.status == ExitStatus.WAITS_FOR_PEOPLE
    assert desk.asked(), "the approval"
    assert tree(live) == before
    assert desk.run("recover", "close", "--as", "dana").status == ExitStatus.DONE
    refused = desk.run("recover", "resume", "--as", "dana")
    assert refused.status == ExitStatus.USAGE, "no incident is open"
    assert tree(live) == before


def test_status_shows_what_is_on_paper(at_recovery: Desk) -> None:
    desk = at_recovery
    desk.sign_in_with(PASSPHRASES["dana"])
    desk.run("recover", "open", "crm", "--as", "dana")
    (desk.folder / "paper.csv").write_text("owner,item\nAda,bookings\nGrace,refunds\n")
    assert len(desk.json("recover", "paper", "--add", "paper.csv", "--as", "dana")["items"]) == 2
    desk.run("recover", "paper", "--entered", "2", "--as", "dana")
    assert "1 of 2 entered" in desk.run("recover", "status").out
    (_, entered) = desk.json("recover", "status")["paper"]
    assert entered["entered_by"] == "dana"
    both = ("recover", "paper", "--add", "paper.csv", "--entered", "2")
    assert desk.run(*both).status == ExitStatus.USAGE


def test_paper_and_plan_show_degraded_modes(at_recovery: Desk) -> None:
    config_file = at_recovery.folder / "standfast.toml"
    text = config_file.read_text().replace(
        "[services.crm]", "[services.crm]\nminimum_capacity_percent = 40"
    )
    mode = '\n[services.crm.modes.forms]\nkind = "paper"\ncapacity_percent = 10\n'
    config_file.write_text(f'{text}{mode}instructions = "Use form 7."\n')
    assert at_recovery.run("recover", "open", "crm", "--exercise").status != ExitStatus.USAGE
    for words in (("plan", "crm"), ("paper",)):
        (line,) = [
            line
            for line in at_recovery.run("recover", *words).out.splitlines()
            if line.startswith("crm in a disruption")
        ]
        assert ("40 %" in line, "forms (paper, 10 %)" in line) == (True, True)
