"""Every command of the tree with --json: one document, nothing else, and its status inside."""

import json
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.cli.test_help import COMMANDS
from tests.operations.places import PASSPHRASES

# What is typed, in this order, at one place; and the status that each must end with.
STORY: tuple[tuple[str, int], ...] = (
    ("init other --source place --yes", 0),
    ("init other --source place --yes", 2),
    ("check", 2),  # its directory and its mail server are not there
    ("status", 0),
    ("backup run", 0),
    ("backup list", 0),
    ("backup verify", 0),
    ("backup restore latest --to out --identity place/offline/identity.txt", 0),
    ("drill run main --identity place/offline/identity.txt", 0),
    ("drill list", 0),
    ("people list", 0),
    ("people add erin --full-name Erin --mail erin@example.com", 0),
    ("people remove erin", 0),
    ("playbook list", 0),
    ("playbook show lock", 0),
    ("playbook check lock", 0),
    ("notice list", 0),
    ("notice preview staff-heads-up", 0),
    ("lock alice --exercise", 0),
    ("incident close", 0),
    ("incident plan leaver -i accounts=agents:alice", 4),  # no secret, so no directory
    ("incident open account-takeover -i accounts=alice --exercise --as dana", 5),
    ("incident list", 0),
    ("incident status", 5),
    ("incident answer customers_affected yes", 5),
    ("incident approve --as dana", 4),  # dana opened it
    ("incident approve --as lee", 5),
    ("incident accept lock", 5),
    ("incident settle 0 yes", 2),
    ("incident retry", 5),
    ("incident stop", 0),
    ("incident resume", 5),
    ("incident undo", 5),
    ("incident answer watch done", 0),
    ("incident close", 0),
    ("evidence list", 0),
    ("evidence verify inc-2000-0001", 2),
    ("audit verify", 0),
    ("audit show", 0),
    ("report", 0),
    ("status", 0),
)
# What is shown elsewhere: `serve` runs until it is told to end, `demo` for a minute.
ELSEWHERE = {("serve",), ("demo",)}


def test_every_command_gives_one_document(
    desk: Desk, quiet_place: Path, subtests: pytest.Subtests
) -> None:
    typed: set[tuple[str, ...]] = set()
    for line, status in STORY:
        words = line.split()
        person = words[words.index("--as") + 1] if "--as" in words else "dana"
        desk.sign_in_with(PASSPHRASES[person])
        with subtests.test(line):
            answer = desk.run(*words, "--json")
            assert answer.status == status, answer
            document = json.loads(answer.out)
            assert isinstance(document, dict)
            assert document.get("exit_status", status) == status
            assert answer.err == ""
            assert status == 0 or "exit_status" in document
        typed.update(tuple(words[:length]) for length in (1, 2))
    assert set(COMMANDS) - typed == ELSEWHERE


def test_the_same_story_is_told_in_calm_lines(desk: Desk, quiet_place: Path) -> None:
    for line, status in STORY:
        words = line.split()
        person = words[words.index("--as") + 1] if "--as" in words else "dana"
        desk.sign_in_with(PASSPHRASES[person])
        answer = desk.run(*words)
        assert answer.status == status, (line, answer)
        said = answer.out + answer.err
        assert said.strip(), line
        assert "Traceback" not in said
        assert "customer1@example.net" not in said
        assert "\x1b" not in said
