"""`standfast readiness`: the one question, its answer, and the page of it."""

from pathlib import Path

from tests.cli.desk import Desk


def test_a_fresh_place_is_not_ready_and_says_what_to_do_first(desk: Desk, place: Path) -> None:
    answer = desk.run("readiness")
    assert answer.status == 3
    first, *_ = answer.out.splitlines()
    assert first.startswith("Could we take a breach tonight? Not as it should: 1 part would fail")
    assert "First: `standfast backup run main` (recovery points: main: there is no" in answer.out
    identity = place / "offline" / "identity.txt"
    assert desk.run("backup", "run").status == 0
    assert desk.run("drill", "run", "main", "--identity", identity).status == 0
    answer = desk.run("readiness")
    assert answer.status == 0
    assert answer.out.startswith("Could we take a breach tonight? Yes, with ")


def test_the_page_is_written_where_it_is_asked_for(desk: Desk, place: Path) -> None:
    document = desk.json("readiness", "--to", "ready.html")
    assert document["page"] == str(desk.folder / "ready.html")
    assert document["answer"] in (desk.folder / "ready.html").read_text()
    questions = {one["question"] for one in document["questions"]}
    assert "Would it all come back?" in questions
    assert desk.json("readiness")["page"] is None
    answer = desk.run("readiness", "--to", "ready.html/below/it.html")
    assert answer.status == 1
    assert "name another place for it" in answer.err
