"""An attacker edits `standfast.toml` while an incident is open.

They have no passphrase, and the people who approve have seen the plan before the edit. Each test
names the attempt; what stays true is asserted. Commands and mail are real.
"""

from pathlib import Path

import pytest

from standfast.records import EffectState, Mode, StepState
from standfast.usecases.incidents import lifecycle
from tests.attacks.site import Site
from tests.servers.smtp import SmtpServer


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
    """The same person approves the edited action; the old approval is void."""
    site.approve("isolate")
    site.edit(f'{site.folder}/isolated"', f'{site.folder}/elsewhere"')
    site.advance()
    with site.opened() as installation:
        assert installation.ledger.decisions.question(site.incident, "isolate").given == 0
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
        with site.opened() as installation:
            opened = lifecycle.open_incident(
                installation, "contain", {"accounts": [f"agent{len(told):02}"]}, mode=Mode.LIVE
            )
            events = installation.ledger.timeline(opened.incident)
            return str(
                next(e for e in events if e.action == "incident.opened").detail["configuration"]
            )

    told: list[str] = ["", ""]
    told.append(fingerprint())
    told.append(fingerprint())
    site.edit('["/bin/true"]', '["/bin/false"]')
    told.append(fingerprint())
    assert told[2] == told[3] != told[4]
