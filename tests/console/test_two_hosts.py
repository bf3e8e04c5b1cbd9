"""Two hosts, each with `serve`, share PostgreSQL and do all work once."""

import os
import shutil
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.roles import ROLES
from standfast.console import serve_parts
from standfast.errors import ExitStatus
from standfast.records import Mode
from standfast.usecases.evidence.frozen_folders import verify_frozen
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.status import look
from standfast.usecases.incidents.lifecycle import advance, open_incident
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.triggers.message_intake import receive, triggers_of
from tests.console.installations import ENV, SIEM, about
from tests.console.test_serving import is_over, is_up, send, serve
from tests.servers import free_port, need, wait_until
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people, furnish

FREEZE = """\
playbook: freeze
version: 1
title: Keep the logs
use_when: Somebody will ask for them.
steps:
  freeze:
    title: Keep the logs
    do: evidence.snapshot
    with: {sources: all}
"""


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host's own folder: its configuration, its state and its witness."""

    folder: Path
    port: int

    @property
    def config_file(self) -> Path:
        return self.folder / "standfast.toml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configure(self, name: str, keys: Path) -> None:
        """Configure a copied folder as that of another host."""
        text = self.config_file.read_text()
        self.config_file.write_text(
            text.replace("[ledger]", f'[ledger]\nkeys = "{keys}"')
            + f'\n[backup]\nwriter = "{name}"\n{SIEM}\n[serve]\nport = {self.port}\n'
            'prefect = "http://127.0.0.1:9/api"\n'
        )


def two_hosts(folder: Path, url: str, scim_url: str = "", smtp_port: int = 9) -> tuple[Host, Host]:
    """Set up a host with its ledger, and a second one with the same keys."""
    one, other = (Host(folder=folder / name, port=free_port()) for name in ("alpha", "beta"))
    one.folder.mkdir()
    furnish(one.folder, ledger_url=url, scim_url=scim_url or "http://127.0.0.1:9/v2",
            smtp_port=smtp_port)  # fmt: skip
    shutil.copytree(one.folder, other.folder, ignore=shutil.ignore_patterns("witness*", "ledger"))
    for host in (one, other):
        host.configure(host.folder.name, one.folder / "keys" / "ledger")
    return one, other


def be_another_machine(monkeypatch: pytest.MonkeyPatch) -> str:
    """Change this process's hostname; return the previous one."""
    was = os.uname()
    now = os.uname_result((was[0], "another-machine", *was[2:]))
    monkeypatch.setattr(os, "uname", lambda: now)
    return was.nodename


def verdicts(
    host: Host, verdict: Verdict, *, part: str = "ledger", ahead: timedelta = timedelta(0)
) -> list[str]:
    """Return the findings of a host's check on a part, by its own clock."""
    report = check_installation(
        host.config_file, env={"SCIM_TOKEN": ""}, clock=lambda: datetime.now(UTC) + ahead
    )
    return [one.found for one in report.checks if (one.part, one.verdict) == (part, verdict)]


@pytest.mark.long
def test_two_servers_share_work_and_replace_each_other(
    tmp_path: Path, postgres_ledger_url: str, scim_server: ScimServer, smtp_server: SmtpServer
) -> None:
    need("prefect", "serve runs its flows; install the requirements")
    first, second = scim_server.create("agent01"), scim_server.create("agent02")
    env = {**ENV, "SCIM_TOKEN": scim_server.token}
    one, other = two_hosts(tmp_path, postgres_ledger_url, scim_server.url, smtp_server.port)
    with (
        open_installation(one.config_file, env=env, actor="os:test") as here,
        open_installation(other.config_file, env=env, actor="os:test") as there,
    ):
        enrol_people(here)
        smtp_server.hold("data")  # so that both may see it before anybody is notified
        with serve(one.config_file, env) as process, serve(other.config_file, env):
            wait_until(lambda: is_up(one.url) and is_up(other.url), "both listen")
            case = send(one.url, "agent01")
            assert send(other.url, "agent01") == case
            smtp_server.wait_for("data")
            wait_until(lambda: is_over(here, case), "the account is locked")
            smtp_server.release()
            everybody = len(here.ledger.people.all())
            wait_until(lambda: len(smtp_server.delivered) >= everybody, "people are told")
            later = send(one.url, "agent02")
            process.kill()
            process.wait()
            wait_until(lambda: is_over(there, later), "the other goes on with it")
        assert not scim_server.is_active(first)
        assert not scim_server.is_active(second)
        told = Counter(
            (mail.recipients[0], str(mail.message["subject"])) for mail in smtp_server.delivered
        )
        assert set(told.values()) == {1}
        assert [row.id for row in here.ledger.incidents.all()] == [case, later]
        claims = [one for one in here.ledger.timeline(case) if one.action == "attempt.claimed"]
        assert len(claims) == 1
        here.ledger.audit.sign_head(here.clock())
        for installation in (here, there):
            found = installation.ledger.audit.verify(now=installation.clock())
            assert (found.findings, found.missing_heads) == ((), 0)


def test_responding_hosts_page_once_without_an_api(
    tmp_path: Path, postgres_ledger_url: str, smtp_server: SmtpServer
) -> None:
    hosts = two_hosts(tmp_path, postgres_ledger_url, smtp_port=smtp_server.port)
    with ExitStack() as stack:
        for host in hosts:
            with host.config_file.open("a") as file:
                file.write('\n[on_call]\nfallback = ["person:dana"]\n')
        both = [
            stack.enter_context(open_installation(host.config_file, env=ENV, actor="os:test"))
            for host in hosts
        ]
        enrol_people(both[0])
        trigger = triggers_of(both[0].config)["siem"]
        case = receive(both[0], trigger, about("agent01"), message_id="msg_1").incident
        for installation in both:
            for part in serve_parts(installation, lambda _: None, ROLES["respond"]):
                stack.callback(part.end)
                part.begin()
        everybody = {person.mail for person in both[0].ledger.people.all()}
        pages = len(everybody) + 1  # the trigger's page to everybody, the call-out to dana
        wait_until(lambda: len(smtp_server.delivered) >= pages, "people are paged")
    told = Counter(
        (mail.recipients[0], str(mail.message["subject"])) for mail in smtp_server.delivered
    )
    assert {*told.values()} == {1}
    assert {recipient for recipient, _ in told} == everybody
    assert len(told) == pages
    assert all(case in subject for _, subject in told)


def test_server_without_shared_keys_names_affected_incidents(
    tmp_path: Path, postgres_ledger_url: str
) -> None:
    one, other = two_hosts(tmp_path, postgres_ledger_url)
    keys = one.folder / "keys" / "ledger"
    shutil.copytree(keys, other.folder / "copied")
    with open_installation(
        one.config_file, env={"SCIM_TOKEN": ""}, actor="os:test"
    ) as installation:
        case = open_incident(
            installation, "lock", {"accounts": ["agents:alice"]}, mode=Mode.EXERCISE
        ).incident
    assert verdicts(other, Verdict.FAIL) == []
    text = other.config_file.read_text()
    other.config_file.write_text(text.replace(str(keys), str(other.folder / "copied")))
    (found,) = verdicts(other, Verdict.FAIL)
    assert found.startswith(f"the key of {case} is not in {other.folder / 'copied'}")


def test_other_serving_host_is_not_this_one(
    tmp_path: Path, postgres_ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two_hosts(tmp_path, postgres_ledger_url)
    with open_installation(
        one.config_file, env={"SCIM_TOKEN": ""}, actor="os:test"
    ) as installation:
        installation.ledger.runners.register(None, "serve", installation.clock())
    no_serve = "no `standfast serve` runs on this host: nothing is backed up on schedule"
    assert no_serve not in verdicts(one, Verdict.WARN, part="serve")
    be_another_machine(monkeypatch)
    found = verdicts(other, Verdict.WARN, part="serve")
    assert no_serve in found
    assert any("other machines run `standfast serve` as well" in words for words in found)
    status = look(other.config_file, {}, datetime.now(UTC))
    assert (status.has_serve, status.serves_here) == (True, False)


def test_clock_difference_of_a_host_is_reported(tmp_path: Path, postgres_ledger_url: str) -> None:
    one, _ = two_hosts(tmp_path, postgres_ledger_url)

    def said(verdict: Verdict, **ahead: float) -> list[str]:
        found = verdicts(one, verdict, ahead=timedelta(**ahead))
        return [words for words in found if "clock" in words]

    assert said(Verdict.WARN) == said(Verdict.FAIL) == []
    (found,) = said(Verdict.WARN, minutes=-5)
    assert "min behind the clock of the ledger's server" in found
    (found,) = said(Verdict.FAIL, minutes=20)
    assert "too far to be corrected" in found


def test_evidence_of_another_host_is_searched_there(
    tmp_path: Path, postgres_ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two_hosts(tmp_path, postgres_ledger_url)
    (one.folder / "own").mkdir()
    (one.folder / "own" / "freeze.yaml").write_text(FREEZE)
    with one.config_file.open("a") as file:
        file.write('\n[playbooks]\nfolder = "own"\n')
    env = {"SCIM_TOKEN": ""}
    with (
        open_installation(one.config_file, env=env, actor="os:test") as here,
        open_installation(other.config_file, env=env, actor="os:test") as there,
    ):
        case = open_incident(here, "freeze", {}, mode=Mode.LIVE).incident
        advance(here, case, "direct")
        assert verify_frozen(here, case).exit_status is ExitStatus.DONE
        (gone,) = verify_frozen(there, case).evidence
        assert gone.problems == ("missing, although the ledger records it as frozen and sealed",)
        was = be_another_machine(monkeypatch)
        (gone,) = verify_frozen(there, case).evidence
    assert f"frozen and sealed on {was}; verify it there" in gone.problems[0]
