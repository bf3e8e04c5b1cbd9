"""Steps that send configured requests, to a real API."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from standfast import retry_rules
from standfast.errors import ExitStatus
from standfast.records import EffectState, Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.incidents.plan import plan_incident
from tests.adapters.procedures.test_http_request import Firewall, firewall
from tests.usecases.installations import enrol_people, furnish, installation_at
from tests.usecases.twins import add_playbooks

PLAYBOOK = """
playbook: isolate
version: 1
title: Isolate hosts
use_when: In a test.
inputs:
  hosts: {type: accounts, required: true}
steps:
  isolate:
    title: Isolate
    do: http.request
    with: {request: isolate, targets: "{{ inputs.hosts }}"}
"""
REQUESTS = """
[requests.isolate]
method = "PUT"
url = "{url}/hosts/{{target}}"
body = {{ why = "an incident" }}
timeout_seconds = 5

[requests.isolate.observe]
url = "{url}/hosts/{{target}}"
field = "host.state"
value = "isolated"

[requests.isolate.undo]
method = "DELETE"
url = "{url}/hosts/{{target}}"

[requests.isolate.parameters.target]
type = "host"
"""


@pytest.fixture
def there() -> Iterator[Firewall]:
    with firewall() as found:
        yield found


@pytest.fixture
def installation(
    tmp_path: Path, there: Firewall, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    monkeypatch.setattr(retry_rules, "OBSERVATION_PAUSE", timedelta(seconds=0.02))
    config_file = furnish(tmp_path)
    add_playbooks(config_file, PLAYBOOK)
    with config_file.open("a") as file:
        file.write(REQUESTS.format(url=there.url))
    with installation_at(config_file) as opened:
        enrol_people(opened)
        yield opened


def carried_out(installation: Installation, *hosts: str) -> tuple[str, ExitStatus]:
    case = lifecycle.open_incident(
        installation, "isolate", {"hosts": list(hosts)}, mode=Mode.LIVE, opened_by="dana"
    ).incident
    return case, lifecycle.advance(installation, case, "direct").exit_status


def rows(installation: Installation, case: str, verb: str) -> dict[str, EffectState]:
    found = installation.ledger.effects.of_incident(case)
    return {row.target: row.state for row in found if row.verb == verb}


def changing(there: Firewall, method: str) -> list[str]:
    return [path.rpartition("/")[2] for asked, path, _, _ in there.asked if asked == method]


def test_request_is_sent_once_and_undone(installation: Installation, there: Firewall) -> None:
    there.hosts["pc-2"] = "isolated"
    case, status = carried_out(installation, "pc-1", "pc-2")
    assert status is ExitStatus.DONE
    assert set(there.hosts) == {"pc-1", "pc-2"}
    assert sorted(set(changing(there, "PUT"))) == sorted(changing(there, "PUT"))
    effect_undo.undo(installation, case, requested_by="dana")
    assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
    assert set(there.hosts) == {"pc-2"}, "that one was isolated before the incident"
    assert set(rows(installation, case, "http.undo").values()) == {EffectState.DONE}
    assert installation.ledger.audit.verify().is_whole


def test_plan_reads_and_sends_nothing(installation: Installation, there: Firewall) -> None:
    (step,) = plan_incident(
        installation, "isolate", {"hosts": ["pc-1", "--all"]}, is_signed=True
    ).steps
    assert (step.targets, sum(dict(step.refused).values())) == (1, 1)
    assert there.hosts == {}
    assert {method for method, *_ in there.asked} <= {"GET"}


@pytest.mark.parametrize("status", [429, 503])
def test_busy_api_is_asked_later(installation: Installation, there: Firewall, status: int) -> None:
    # Answers to the read and to the change.
    there.answers += [(404, {}, b"{}"), (status, {"Retry-After": "1"}, b"")]
    case, outcome = carried_out(installation, "pc-1")
    assert outcome is ExitStatus.DONE
    assert changing(there, "PUT") == ["pc-1"] * 2
    assert rows(installation, case, "http.request") == {"requests.isolate:pc-1": EffectState.DONE}


@pytest.mark.usefixtures("calls_settle_at_once")
def test_invalid_answer_is_looked_up(installation: Installation, there: Firewall) -> None:
    there.answers += [(404, {}, b"{}"), (500, {}, b"<html>")]
    case, outcome = carried_out(installation, "pc-1")
    assert outcome is ExitStatus.DONE
    assert there.hosts == {"pc-1": "isolated"}, "it had not happened, so it was sent once more"
    assert changing(there, "PUT") == ["pc-1"] * 2
    keys = {headers["Idempotency-Key"] for method, _, headers, _ in there.asked if method == "PUT"}
    assert len(keys) == 1, "by the same key"
    assert rows(installation, case, "http.request") == {"requests.isolate:pc-1": EffectState.DONE}
