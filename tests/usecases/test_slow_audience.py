"""Locks do not wait until the audience of a notice is read."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from standfast.config.schema import PlaybooksConfig
from standfast.errors import ExitStatus
from standfast.notices.audience import Audience
from tests.servers import wait_until
from tests.usecases.twins import SimulatedInstallation, TwinAdapters, simulated_installation

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
def installation(tmp_path: Path) -> Iterator[SimulatedInstallation]:
    with simulated_installation(tmp_path, "sqlite:///ledger.db") as installation:
        folder = installation.config.folder / "own"
        folder.mkdir()
        (folder / "tell-and-lock.yaml").write_text(_PLAYBOOK)
        config = installation.config.model_copy(
            update={"playbooks": PlaybooksConfig(folder=folder)}
        )
        yield replace(installation, config=config)


def test_accounts_lock_while_an_audience_is_read(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = TwinAdapters.audience

    def slowly(adapters: TwinAdapters, name: str) -> Audience:
        wait_until(lambda: not installation.is_enabled("agent01"), "the account to be locked")
        return read(adapters, name)

    monkeypatch.setattr(TwinAdapters, "audience", slowly)
    case = installation.open("tell-and-lock")
    assert installation.advance(case).exit_status is ExitStatus.DONE
