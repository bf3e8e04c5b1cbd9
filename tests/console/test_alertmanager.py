"""A real Alertmanager: its groups open a plan, join it, and resolve."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx
import pytest

from standfast.errors import ConfigurationError
from standfast.records import Mode
from standfast.usecases.incidents import lifecycle
from tests.console.installations import ALERTS, TOKEN, Site, furnish_with, site_at
from tests.servers import wait_until
from tests.servers.alertmanager import running_alertmanager
from tests.triggers.test_alertmanager import GROUP


def actions(site: Site, incident_id: str) -> list[str]:
    return [event.action for event in site.installation.ledger.timeline(incident_id)]


def accounts(site: Site, incident_id: str) -> list[str]:
    return sorted(
        cast("list[str]", site.installation.ledger.incidents.get(incident_id).inputs["accounts"])
    )


def test_real_alertmanager_groups_open_and_join_plans(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/triggers/alerts"
    with running_alertmanager(tmp_path, url, TOKEN) as alertmanager:
        alertmanager.fire("Takeover", "agent01", "agent02")
        wait_until(lambda: len(site.incidents) == 1, "the group opened an incident")
        (first,) = site.installation.ledger.incidents.all()
        assert (first.mode, first.opened_by) == (Mode.PLAN, "trigger:alerts")
        both = ["agents:agent01", "agents:agent02"]  # at once, or the second a moment later
        wait_until(lambda: accounts(site, first.id) == both, "both alerts are in it")
        alertmanager.fire("Takeover", "agent03")
        wait_until(lambda: len(accounts(site, first.id)) == 3, "the group grew")
        alertmanager.fire("Other", "agent09")
        wait_until(lambda: len(site.incidents) == 2, "another group opened another")
        alertmanager.resolve("Takeover", "agent01", "agent02", "agent03")
        wait_until(lambda: "trigger.resolved" in actions(site, first.id), "it is over by itself")
        assert site.installation.ledger.incidents.get(first.id).is_open  # people close
        outcome = lifecycle.advance(site.installation, first.id, "direct")
        assert outcome.state.steps == {}  # a plan: nothing was done, and nothing will be


def test_a_group_that_is_repeated_is_one_message(site: Site) -> None:
    first = site.alert(GROUP).json()
    again = site.alert(GROUP).json()
    assert again == {**first, "has_joined": True}
    assert actions(site, first["incident"]) == ["incident.opened"]


def test_only_firing_alerts_are_inputs(site: Site) -> None:
    case = site.alert(GROUP).json()["incident"]
    inputs = site.installation.ledger.incidents.get(case).inputs
    assert inputs["accounts"] == ["agents:a", "agents:c"]


def test_truncated_groups_are_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.alert({**GROUP, "truncatedAlerts": 0})
    assert "left out" not in caplog.text
    assert site.alert({**GROUP, "truncatedAlerts": 90}).status_code == 202
    assert "trigger alerts: Alertmanager omitted 90 alerts of a group" in caplog.text


def test_resolved_alert_opens_nothing(site: Site) -> None:
    answer = site.alert({**GROUP, "status": "resolved"})
    assert (answer.status_code, answer.json()) == (200, {"incident": None})
    assert site.incidents == []


@pytest.mark.parametrize("is_blank", [False, True])
def test_alert_without_account_is_named_or_counted(
    site: Site, caplog: pytest.LogCaptureFixture, is_blank: bool
) -> None:
    group = copy.deepcopy(GROUP)
    if is_blank:
        group["alerts"][0]["labels"]["account"] = " "
    else:
        del group["alerts"][0]["labels"]["account"]
    answer = site.alert(group).json()
    case = answer["incident"]
    assert site.installation.ledger.incidents.get(case).inputs["accounts"] == ["agents:c"]
    assert answer["lacking"] == 1
    (opened,) = site.installation.ledger.timeline(case)
    assert opened.detail["lacking"] == 1
    assert f"trigger alerts: 1 item of a message to {case} lacks " in caplog.text
    more = copy.deepcopy(GROUP["alerts"][0])
    more |= {"labels": {}, "fingerprint": "more"}
    joined = site.alert({**group, "alerts": [*group["alerts"], more]}).json()
    assert (joined["has_joined"], joined["lacking"]) == (True, 2)
    assert site.installation.ledger.timeline(case)[-1].detail["lacking"] == 2
    assert "lacking" not in site.alert({**GROUP, "groupKey": "whole"}).json()
    group["alerts"][0]["labels"] = {}
    del group["alerts"][2]["labels"]["account"]
    answer = site.alert({**group, "groupKey": "other"})
    assert answer.status_code == 422
    assert "/alerts/*/labels/account" in answer.json()["detail"]


def test_missing_token_is_refused(site: Site) -> None:
    for header in (
        b"x",
        b"Bearer",
        b"Bearer x",
        f"Bearer {TOKEN}x".encode(),
        f"Bearer {TOKEN[:-1]}".encode(),
        f"Basic {TOKEN}".encode(),
        f"bearer{TOKEN}".encode(),
        b"Bearer \x80",
    ):
        answer = httpx.post(
            f"{site.url}/triggers/alerts",
            content=b"{}",
            headers={b"authorization": header},
            trust_env=False,
        )
        assert answer.status_code == 401, header
    assert site.incidents == []


def test_short_token_is_refused(tmp_path: Path) -> None:
    env = {"ALERT_TOKEN": "short", "SCIM_TOKEN": "x"}
    with site_at(furnish_with(tmp_path, ALERTS), env) as site:
        assert site.alert(GROUP, "short").status_code == 401


BY_PROXY = """
[serve]
trusted_proxies = ["127.0.0.0/8"]

[triggers.alerts]
kind = "alertmanager"
tokens = []
client_header = "X-Client-DN"
client = "CN=alertmanager"
scenario = "lock"
inputs = { accounts = "agents:{/alerts/*/labels/account}" }
"""


@pytest.mark.parametrize(
    ("change", "is_let_in"),
    [
        (lambda text: text, True),
        (lambda text: text.replace('["127.0.0.0/8"]', '["192.0.2.1/32"]'), False),
        (lambda text: text.replace('"CN=alertmanager"', '"CN=other"'), False),
    ],
)
def test_client_certificate_counts_only_from_trusted_proxy(
    tmp_path: Path, change: Callable[[str], str], is_let_in: bool
) -> None:
    with site_at(furnish_with(tmp_path, change(BY_PROXY))) as site:

        def post(*headers: tuple[str, str]) -> int:
            return httpx.post(
                f"{site.url}/triggers/alerts",
                content=json.dumps(GROUP),
                headers=list(headers),
                trust_env=False,
            ).status_code

        dn = ("x-client-dn", "CN=alertmanager")
        assert post(dn) == (202 if is_let_in else 401)
        assert post(dn, ("X-Client-DN", "CN=other")) == 401  # one of them is from outside
        assert post() == 401


def test_alertmanager_can_never_act_live(tmp_path: Path) -> None:
    config_file = furnish_with(tmp_path, ALERTS + 'mode = "live"\n')
    with pytest.raises(ConfigurationError, match=r"alerts\.mode"), site_at(config_file):
        pass
