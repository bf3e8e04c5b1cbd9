"""An installation with two steps that ask for an approval."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from standfast.records import EffectState, Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

_COMMANDS = """
[playbooks]
folder = "playbooks"

[commands.isolate]
argv = ["/usr/bin/touch", "{folder}/isolated"]

[commands.unused]
argv = ["/bin/true"]
"""

_PLAYBOOK = """
playbook: contain
version: 1
title: Contain
use_when: In a test.
inputs:
  accounts: {type: accounts, required: true, description: Accounts.}
steps:
  isolate:
    title: Isolate
    do: run.command
    with: {command: isolate}
    undo: run.undo
    approval: {roles: [duty-manager], count: 1}
  tell:
    title: Warn our own staff
    do: notices.send
    with: {template: staff-heads-up, audience: staff, context: {what_happened: account-takeover}}
    approval: {roles: [duty-manager], count: 1}
"""


class Site:
    """An installation with a configuration that is edited between commands."""

    def __init__(self, folder: Path, smtp_port: int) -> None:
        self.folder = folder
        self._file = furnish(folder, smtp_port=smtp_port)
        (folder / "playbooks").mkdir()
        (folder / "playbooks/contain.yaml").write_text(_PLAYBOOK)
        with self._file.open("a") as file:
            file.write(_COMMANDS.format(folder=folder))
        with installation_at(self._file) as installation:
            enrol_people(installation)
            inputs: dict[str, str | list[str]] = {"accounts": ["agent01"]}
            opened = lifecycle.open_incident(
                installation, "contain", inputs, mode=Mode.LIVE, opened_by="dana"
            )
            self.incident = opened.incident
            lifecycle.advance(installation, self.incident, "direct")

    @contextmanager
    def opened(self) -> Iterator[Installation]:
        with installation_at(self._file) as installation:
            yield installation

    def edit(self, old: str, new: str) -> None:
        text = self._file.read_text()
        assert old in text
        self._file.write_text(text.replace(old, new))

    def approve(self, step: str, name: str = "lee", *, approves: bool = True) -> None:
        with self.opened() as installation:
            step_decisions.decide(
                installation, self.incident, step, name, PASSPHRASES[name], approves=approves
            )

    def advance(self) -> None:
        with self.opened() as installation:
            lifecycle.advance(installation, self.incident, "direct")

    def state(self, step: str) -> StepState:
        with self.opened() as installation:
            return installation.ledger.incidents.state(self.incident).steps[step].state

    def effects(self, step: str) -> set[EffectState]:
        with self.opened() as installation:
            rows = installation.ledger.effects.of_incident(self.incident)
            return {row.state for row in rows if row.step == step and row.verb != "people.page"}
