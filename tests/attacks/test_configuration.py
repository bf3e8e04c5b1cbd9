"""An attacker edits `standfast.toml` while an incident is open.

They have no passphrase, and the people who approve have seen the plan before the edit. Each test
names the attempt; what stays true is asserted. Commands and mail are real.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from standfast.operations import decisions, incident
from standfast.operations.place import Place
from standfast.records import EffectState, Mode, StepState
from tests.operations.places import PASSPHRASES, enrol_people, furnish, place_at
from tests.servers.smtp import SmtpServer

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
    """A place whose configuration somebody edits between two commands."""

    def __init__(self, folder: Path, smtp_port: int) -> None:
        self.folder = folder
        self._file = furnish(folder, smtp_port=smtp_port)
        (folder / "playbooks").mkdir()
        (folder / "playbooks/contain.yaml").write_text(_PLAYBOOK)
        with self._file.open("a") as file:
            file.write(_COMMANDS.format(folder=folder))
        with place_at(self._file) as place:
            enrol_people(place)
            inputs: dict[str, str | list[str]] = {"accounts": ["agent01"]}
            opened = incident.open_incident(
                place, "contain", inputs, mode=Mode.LIVE, opened_by="dana"
            )
            self.incident = opened.incident
            incident.advance(place, self.incident, "direct")

    @contextmanager
    def opened(self) -> Iterator[Place]:
        with place_at(self._file) as place:
            yield place

    def edit(self, old: str, new: str) -> None:
        text = self._file.read_text()
        assert old in text
        self._file.write_text(text.replace(old, new))

    def approve(self, step: str, name: str = "lee") -> None:
        with self.opened() as place:
            decisions.decide(place, self.incident, step, name, PASSPHRASES[name])

    def advance(self) -> None:
        with self.opened() as place:
            incident.advance(place, self.incident, "direct")

    def state(self, step: str) -> StepState:
        with self.opened() as place:
            return place.ledger.incidents.state(self.incident).steps[step].state

    def effects(self, step: str) -> set[EffectState]:
        with self.opened() as place:
            rows = place.ledger.effects.of_incident(self.incident)
            return {row.state for row in rows if row.step == step and row.verb != "people.page"}


@pytest.fixture
def site(tmp_path: Path, smtp_server: SmtpServer) -> Site:
    return Site(tmp_path, smtp_server.port)


def test_other_command_is_not_run(site: Site) -> None:
    site.approve("isolate")
    site.edit('["/usr/bin/touch", ', '["/usr/bin/touch", "-c", ')
    site.advance()
    assert not (site.folder / "isolated").exists()
    assert site.state("isolate") is StepState.ASKING
    assert site.effects("isolate") == {EffectState.PLANNED}


def test_old_approval_does_not_cover_the_edit(site: Site) -> None:
    """The same person approves what is there now, and that runs; the earlier approval is void."""
    site.approve("isolate")
    site.edit(f'{site.folder}/isolated"', f'{site.folder}/elsewhere"')
    site.advance()
    with site.opened() as place:
        assert place.ledger.steps.question(site.incident, "isolate").given == 0
    site.approve("isolate")
    site.advance()
    assert not (site.folder / "isolated").exists()
    assert (site.folder / "elsewhere").exists()


def test_other_user_or_environment_counts(site: Site) -> None:
    site.approve("isolate")
    site.edit("[commands.unused]", 'environment = { LD_PRELOAD = "/tmp/x.so" }\n[commands.unused]')
    site.advance()
    assert not (site.folder / "isolated").exists()


def test_mail_is_not_sent_through_another_relay(site: Site, smtp_server: SmtpServer) -> None:
    site.approve("tell")
    site.edit('sender_address = "security@example.com"', 'sender_address = "x@example.org"')
    site.advance()
    assert not [one for one in smtp_server.delivered if one.recipients[0].startswith("staff")]
    assert site.state("tell") is StepState.ASKING


def test_edit_of_something_else_stops_nothing(site: Site) -> None:
    site.approve("isolate")
    site.edit('["/bin/true"]', '["/bin/false"]')
    site.advance()
    assert site.effects("isolate") == {EffectState.DONE}


def test_configuration_in_force_is_in_the_timeline(site: Site) -> None:
    def fingerprint() -> str:
        with site.opened() as place:
            opened = incident.open_incident(
                place, "contain", {"accounts": [f"agent{len(told):02}"]}, mode=Mode.LIVE
            )
            events = place.ledger.timeline(opened.incident)
            return str(
                next(e for e in events if e.action == "incident.opened").detail["configuration"]
            )

    told: list[str] = ["", ""]
    told.append(fingerprint())
    told.append(fingerprint())
    site.edit('["/bin/true"]', '["/bin/false"]')
    told.append(fingerprint())
    assert told[2] == told[3] != told[4]
