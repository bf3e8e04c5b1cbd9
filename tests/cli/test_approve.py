"""Approvals sign only a plan that was shown, or named by its digest."""

from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.servers.scim import ScimServer
from tests.usecases.installations import PASSPHRASES


@pytest.fixture
def asking(desk: Desk, quiet_installation: Path) -> str:
    """Run an exercise of dana with a notice that waits for lee."""
    desk.sign_in_with(PASSPHRASES["dana"])
    words = ("incident", "open", "account-takeover", "-i", "accounts=alice", "--exercise")
    opened = desk.json(*words, "--as", "dana")
    desk.sign_in_with(PASSPHRASES["lee"])
    desk.run("incident", "answer", "customers_affected", "yes", "--as", "lee")
    return str(opened["incident"])


class Terminal:
    """A terminal on which a person types lines."""

    def __init__(self, *lines: str) -> None:
        self.lines = [*lines]
        self.lines_read = 0

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        self.lines_read += 1
        return f"{self.lines.pop(0)}\n"


def sit_down(desk: Desk, *answers: str) -> Terminal:
    """Type these answers at the prompts of the next commands."""
    terminal = Terminal(*answers)
    desk.monkeypatch.setattr("sys.stdin", terminal)
    return terminal


def state(desk: Desk) -> str:
    steps = {step["step"]: step["state"] for step in desk.json("incident", "status")["steps"]}
    return str(steps["tell_customers"])


def test_approval_without_terminal_needs_the_digest(desk: Desk, asking: str) -> None:
    answer = desk.run("incident", "approve", "--as", "lee")
    assert answer.status == 4
    assert "nothing was signed" in answer.err
    assert "It acts on 3 targets, and cannot be undone" in answer.err
    assert "It sends the notice customers-account-takeover to customers" in answer.err
    assert f"Read its text: `standfast notice read {asking} tell_customers`" in answer.err
    digest = desk.asked()
    command = f"standfast incident approve {asking} tell_customers --digest {digest[:16]} --as lee"
    assert command in answer.err
    assert state(desk) == "asking"
    assert desk.run(*command.split()[1:]).status == 5
    assert state(desk) == "done"


def test_terminal_shows_the_plan_before_signing(desk: Desk, asking: str) -> None:
    digest = desk.asked()
    terminal = sit_down(desk, "n", "y")
    answer = desk.run("incident", "approve", "--as", "lee")
    assert (answer.status, state(desk)) == (4, "asking")
    assert "It acts on 3 targets, and cannot be undone" in answer.err
    assert f"Digest {digest}." in answer.err
    assert terminal.lines_read == 1
    assert desk.run("incident", "approve", "--as", "lee").status == 5
    assert state(desk) == "done"


def test_matching_digest_still_shows_the_plan(desk: Desk, asking: str) -> None:
    digest = desk.asked()
    terminal = sit_down(desk)
    other = desk.run("incident", "approve", "--digest", "0" * 16, "--as", "lee")
    assert (other.status, state(desk)) == (4, "asking")
    assert "nothing was signed" in other.err
    answer = desk.run("incident", "approve", "--digest", digest[:16], "--as", "lee")
    assert (answer.status, state(desk)) == (5, "done")
    assert f"Digest {digest}." in answer.err
    assert terminal.lines_read == 0


def test_a_few_characters_of_a_digest_name_nothing(desk: Desk, asking: str) -> None:
    """Otherwise, sixteen attempts could sign any plan."""
    answer = desk.run("incident", "approve", "--digest", desk.asked()[:7], "--as", "lee")
    assert (answer.status, state(desk)) == (2, "asking")
    assert "at least 8 characters of the digest" in answer.err


def test_plan_changed_while_read_is_not_signed(desk: Desk, asking: str) -> None:
    """Another person refuses meanwhile, and the step asks again."""

    class SlowReader(Terminal):
        def readline(self) -> str:
            sit_down(desk, "y", "y")
            desk.sign_in_with(PASSPHRASES["kim"])
            assert desk.run("incident", "approve", "--refuse", "--as", "kim").status == 5
            desk.run("incident", "retry", "tell_customers", "--as", "kim")
            desk.sign_in_with(PASSPHRASES["lee"])
            return super().readline()

    before = desk.asked()
    desk.monkeypatch.setattr("sys.stdin", SlowReader("y"))
    answer = desk.run("incident", "approve", "--as", "lee")
    assert answer.status == 4
    assert "nothing was signed" in answer.err
    assert (state(desk), desk.asked() != before) == ("asking", True)


def test_refusal_needs_no_digest(desk: Desk, asking: str) -> None:
    exactly = f"approve {asking} tell_customers --digest {desk.asked()[:16]} --as PERSON"
    answer = desk.run("incident", "answer", "watch", "done")
    assert exactly in answer.out
    assert exactly in desk.run("status").out
    assert exactly in desk.run("incident", "handover").out + _page(desk)
    assert desk.run("incident", "approve", "--refuse", "--as", "lee").status == 5
    assert state(desk) == "refused"


def _page(desk: Desk) -> str:
    written = desk.json("incident", "handover")
    return Path(str(written["file"])).read_text() if "file" in written else str(written)


def test_mistyped_step_is_an_error(desk: Desk, asking: str) -> None:
    answer = desk.run("incident", "approve", asking, "tell_custmers", "--as", "lee")
    assert (answer.status, state(desk)) == (2, "asking")
    assert asking in answer.err
    assert "'tell_custmers'" in answer.err
    assert "did you mean 'tell_customers'?" in answer.err


def test_break_glass_states_start_and_refusal(
    desk: Desk, live_installation: Path, scim_server: ScimServer
) -> None:
    settings = live_installation / "standfast.toml"
    settings.write_text(settings.read_text() + "\n[limits]\naccounts_without_second_person = 1\n")
    for name in ("alice", "bob"):
        scim_server.create(name)
    desk.sign_in_with(PASSPHRASES["dana"])
    case = desk.json("lock", "alice", "bob", "--as", "dana")["incident"]
    answer = desk.run(
        *("incident", "approve", "--digest", desk.asked(), "--as", "dana"),
        *("--break-glass", "nobody answers"),
    )
    assert answer.status == 5, answer
    assert "lock: 0 of 1 approval." in answer.out
    assert "The step begins at " in answer.out
    assert f"`standfast incident approve {case} lock --refuse --as PERSON`" in answer.out
    assert "break-glass approval" in desk.run("status").out
    desk.sign_in_with(PASSPHRASES["lee"])
    refused = desk.json("incident", "approve", case, "lock", "--refuse", "--as", "lee")
    assert {step["step"]: step["state"] for step in refused["steps"]}["lock"] == "refused"
