"""Okta's system log as evidence, against Okta's published description."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.okta import OktaEvidence
from standfast.config.sections.accounts import OktaConfig
from standfast.config.sections.evidence_sources import OktaEvidenceConfig
from standfast.records import moment, timestamp
from tests.adapters.accounts.described import Call, serving
from tests.adapters.accounts.jwt_check import private_pem
from tests.adapters.evidence_sources.contract import NOW, order, sealed_manifest
from tests.adapters.evidence_sources.paged_contract import (
    HOSTILE,
    LogProvider,
    PagedContract,
    pages_of,
)
from tests.adapters.settings import settings_of

WINDOW = timedelta(hours=2)


def event(number: int, login: str, at: datetime) -> dict[str, Any]:
    return {
        "uuid": f"event-{number}",
        "published": timestamp(at),
        "eventType": "user.session.start",
        "actor": {"id": f"00u{number}", "type": "User", "alternateId": login},
        "client": {"ipAddress": "192.0.2.7", "userAgent": {"rawUserAgent": HOSTILE}},
        "outcome": {"result": "SUCCESS"},
    }


class OktaLog(LogProvider):
    """A system log that is listed as Okta does: two events a page."""

    contract = "okta"

    def __init__(self) -> None:
        super().__init__()
        logins = ("m.keller@example.com", "a.silva@example.com")
        times = [NOW - WINDOW * 2, *(NOW - timedelta(minutes=90 - n) for n in range(5))]
        self.events = [event(n, logins[n % 2], at) for n, at in enumerate(times)]
        self.events.append(event(99, logins[0], NOW + timedelta(minutes=1)))
        self._after = ""

    def act(self, call: Call) -> tuple[int, Any]:
        since, until = moment(call.query["since"]), moment(call.query["until"])
        accounts = re.findall(r'actor.alternateId eq "([^"]*)"', call.query.get("filter", ""))
        found = [
            one
            for one in self.events
            if since <= moment(one["published"]) < until
            and (not accounts or one["actor"]["alternateId"] in accounts)
        ]
        start = int(call.query.get("after", "0"))
        page = found[start : start + 2]
        self._after = str(start + 2) if page else ""
        return 200, page

    def headers(self, call: Call) -> dict[str, str]:
        link = f'<https://elsewhere.invalid/api/v1/logs?after={self._after}>; rel="next"'
        return {"Link": link} if self._after else {}


class TestOktaEvidence(PagedContract):
    @pytest.fixture
    def provider(self) -> OktaLog:
        return OktaLog()

    def build(self, provider: OktaLog, **settings: object) -> OktaEvidence:
        directory = settings_of(
            OktaConfig, url=provider.url, client_id="0oa1", private_key=private_pem(), key_id="kid"
        )
        config = settings_of(OktaEvidenceConfig, directory="workforce", hours=2, **settings)
        return OktaEvidence("logs", config, provider.context(directory))

    def test_window_is_read_to_its_end(self, provider: OktaLog, custody: Custody) -> None:
        with serving(provider):
            self.build(provider).collect(order(), custody)
        found = [one["uuid"] for page in pages_of(custody) for one in page]
        assert found == [f"event-{number}" for number in range(1, 6)]
        assert provider.broken == []
        (address,) = sealed_manifest(custody).paths
        assert "until=2025-03-04T03%3A00%3A00.000000Z" in address

    def test_accounts_are_selected(self, provider: OktaLog, custody: Custody) -> None:
        with serving(provider):
            self.build(provider, accounts=["a.silva@example.com"]).collect(order(), custody)
        found = [one["actor"]["alternateId"] for page in pages_of(custody) for one in page]
        assert found == ["a.silva@example.com"] * 3
        assert provider.broken == []
