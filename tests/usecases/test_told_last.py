"""Who is to be locked out does not wait until everybody who is to be told was read."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.config.schema import PlaybooksConfig
from standfast.errors import ExitStatus
from standfast.notices.audience import Audience
from tests.servers import wait_until
from tests.usecases.twins import TwinOutside, TwinPlace, twin_place

_PLAYBOOK = """
playbook: tell-and-lock
version: 1
title: Tell and lock
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true}
steps:
  tell:
    title: Tell the staff
    do: notices.prepare
    with:
      template: staff-heads-up
      audience: staff
      context: {what_happened: account-takeover}
  lock:
    title: Lock them
    do: accounts.lock
    with: {accounts: "{{ inputs.accounts }}"}
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TwinPlace]:
    with twin_place(tmp_path, "sqlite:///ledger.db") as place:
        folder = place.config.folder / "own"
        folder.mkdir()
        (folder / "tell-and-lock.yaml").write_text(_PLAYBOOK)
        config = place.config.replaced(playbooks=PlaybooksConfig(folder=folder))
        yield replace(place, config=config)


def test_accounts_are_locked_while_an_audience_is_still_read(
    place: TwinPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TwinOutside._read_audience

    def slowly(outside: TwinOutside, name: str) -> Audience:
        wait_until(lambda: not place.is_enabled("agent01"), "the account to be locked")
        return read(outside, name)

    monkeypatch.setattr(TwinOutside, "_read_audience", slowly)
    case = place.open("tell-and-lock")
    assert place.advance(case).exit_status is ExitStatus.DONE
