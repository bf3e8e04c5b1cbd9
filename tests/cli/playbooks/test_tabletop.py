"""A tabletop exercise at the keyboard, from its start to its report."""

from pathlib import Path

from tests.cli.desk import Desk


def test_an_exercise_from_its_start_to_its_report(desk: Desk, installation: Path) -> None:
    listed = {one["exercise"] for one in desk.json("tabletop", "list")["exercises"]}
    assert listed >= {"ransomware", "agent-vishing"}
    started = desk.run("tabletop", "start", "agent-vishing")
    assert started.status == 0
    assert "1 of 6: A helpful reset (planned for minute 0; it is minute 0)" in started.out
    assert "help-desk-lead: " in started.out

    for elsewhere in (desk.run("status"), desk.run("incident", "status")):
        assert "Continue: `standfast tabletop next`" in elsewhere.out
        assert "incident answer" not in elsewhere.out  # that command would bypass the score
    wrong = desk.run("tabletop", "answer", "D")
    assert (wrong.status, "A, B, C" in wrong.err) == (2, True)
    best = desk.json("tabletop", "answer", "b")
    assert (best["answered"], best["points"], best["most"]) == ("reset", 3, 3)
    assert best["inject"]["name"] == "recording"
    assert best["inject"]["look_for"]
    heard = desk.run("tabletop", "answer", "We hold the recording", "--met", "1, 3")
    assert "What deletes itself: 2 of 5" in heard.out
    assert "not named: the ticket, the chat" in heard.out
    assert desk.run("tabletop", "answer", "x", "--met", "one").status == 2
    shown = desk.json("tabletop", "next")
    assert (shown["inject"]["name"], shown["inject"]["number"]) == ("undo", 3)

    ended = desk.json("tabletop", "finish")
    assert (ended["points"], ended["most"]) == (5, 3 + 5 + 4 + 3 + 5 + 4)
    assert [one["answered_at"] is not None for one in ended["injects"]] == [True] * 2 + [False] * 4
    assert desk.run("tabletop", "next").status == 2, "none is open any more"
    shown_late = desk.run("tabletop", "next", ended["incident"]).out
    assert f"standfast tabletop report {ended['incident']}" in shown_late
    report = desk.json("tabletop", "report", ended["incident"], "--to", "page.html")
    assert report["is_whole"] is True
    html = (desk.folder / "page.html").read_text()
    assert "We hold the recording" in html
    assert "Not answered." in html
    assert "The exercise was ended early. Not answered: More than a phone number; " in html
    assert "the ticket, the chat and the screen recording of that hour" in html
    assert desk.run("audit", "verify").status == 0
    opened = desk.json("incident", "list")["incidents"]
    assert [(one["mode"], one["scenario"]) for one in opened] == [
        ("exercise", "tabletop-agent-vishing")
    ]


def test_all_answered_it_asks_to_be_ended(desk: Desk, installation: Path) -> None:
    (desk.folder / "own.yaml").write_text(
        "exercise: own\nversion: 1\nplaybook: lock\ntitle: Own\nminutes: 10\nbriefing: Sit.\n"
        "injects: {one: {title: One, inject: Now., ask: What?, look_for: [this]}}\n"
    )
    assert desk.run("tabletop", "start", "./own.yaml").status == 0
    done = desk.run("tabletop", "answer", "that", "--met", "1")
    assert "One: 1 of 1" in done.out
    assert "standfast tabletop finish inc-" in done.out
    nothing = desk.run("tabletop", "answer", "more")
    assert nothing.status == 2
    assert "1 of 1 points, 1 of 1 inject answered." in desk.run("tabletop", "finish").out


def test_unreadable_exercise_states_its_reason(desk: Desk, quiet_installation: Path) -> None:
    (desk.folder / "latin.yaml").write_bytes(b"exercise: caf\xe9\n")
    for name, why in (
        ("bad/missing.yaml", "cannot be read: No such file or directory"),
        (f"{desk.folder}/", "cannot be read: Is a directory"),
        ("./latin.yaml", "is not UTF-8"),
    ):
        answer = desk.run("tabletop", "start", name)
        assert (answer.status, why in answer.err) == (2, True)


def test_two_open_exercises_need_a_choice(desk: Desk, quiet_installation: Path) -> None:
    for _ in range(2):
        desk.json("tabletop", "start", "ransomware")
    answer = desk.run("tabletop", "answer", "B")
    assert answer.status == 2
    assert "2 are open: inc-" in answer.err
    assert "--incident ID" in answer.err


def test_ordinary_incident_is_not_an_exercise(desk: Desk, quiet_installation: Path) -> None:
    opened = desk.json("lock", "alice", "--exercise")["incident"]
    for word in ("next", "finish", "report"):
        answer = desk.run("tabletop", word, opened)
        assert answer.status == 2
        assert "not a tabletop exercise" in answer.err
    assert (
        "the known names are: agent-vishing, ransomware"
        in desk.run("tabletop", "start", "flood").err
    )
