"""Google activity reports as evidence, against the discovery document."""

from datetime import timedelta
from typing import Any

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.google_workspace import GoogleWorkspaceEvidence
from standfast.config.sections.accounts import GoogleWorkspaceConfig
from standfast.config.sections.evidence_sources import GoogleWorkspaceEvidenceConfig
from standfast.records import EffectState, moment, timestamp
from tests.adapters.accounts.described import Call, Fault, serving
from tests.adapters.accounts.jwt_check import private_pem
from tests.adapters.evidence_sources.contract import NOW, order, sealed_folder
from tests.adapters.evidence_sources.paged_contract import (
    HOSTILE,
    LogProvider,
    PagedContract,
    pages_of,
)
from tests.adapters.settings import settings_of

LOGINS = ("m.keller@example.com", "a/silva@example.com")


class GoogleReports(LogProvider):
    """The activities of a customer, listed as Google does: two a page."""

    contract = "google_reports"

    def __init__(self) -> None:
        super().__init__()
        times = [NOW - timedelta(hours=4), *(NOW - timedelta(minutes=90 - n) for n in range(5))]
        times.append(NOW + timedelta(minutes=1))
        self.activities = [
            {
                "kind": "admin#reports#activity",
                "id": {"time": timestamp(at), "uniqueQualifier": str(number)},
                "actor": {"email": LOGINS[number % 2], "profileId": HOSTILE},
                "ipAddress": "192.0.2.7",
                "events": [{"type": "login", "name": "login_success"}],
            }
            for number, at in enumerate(times)
        ]

    def act(self, call: Call) -> tuple[int, Any]:
        since, until = moment(call.query["startTime"]), moment(call.query["endTime"])
        account = call.parameters["userKey"]
        found = [
            activity
            for activity in self.activities
            if since <= moment(time_of(activity)) <= until
            and account in ("all", email_of(activity))
        ]
        start = int(call.query.get("pageToken", "0"))
        page: dict[str, Any] = {"kind": "admin#reports#activities"}
        if found:  # an empty page has no list
            page["items"] = found[start : start + 2]
        if start + 2 < len(found):
            page["nextPageToken"] = str(start + 2)
        return 200, page


def time_of(activity: Any) -> str:
    return str(activity["id"]["time"])


def email_of(activity: Any) -> str:
    return str(activity["actor"]["email"])


class TestGoogleWorkspaceEvidence(PagedContract):
    @pytest.fixture
    def provider(self) -> GoogleReports:
        return GoogleReports()

    def build(self, provider: GoogleReports, **settings: object) -> GoogleWorkspaceEvidence:
        directory = settings_of(
            GoogleWorkspaceConfig,
            service_account="standfast@project.iam.example",
            private_key=private_pem(),
            administrator="responder@example.com",
        )
        values = {"directory": "workforce", "hours": 2, "applications": ["login"], **settings}
        return GoogleWorkspaceEvidence(
            "logs",
            settings_of(GoogleWorkspaceEvidenceConfig, **values),
            provider.context(directory),
            reports_url=provider.url,
            token_url=f"{provider.url}/token",
        )

    def test_window_is_read_to_its_end(self, provider: GoogleReports, custody: Custody) -> None:
        with serving(provider):
            self.build(provider).collect(order(), custody)
        activities = [it for page in pages_of(custody) for it in page["items"]]
        assert [it["id"]["uniqueQualifier"] for it in activities] == ["1", "2", "3", "4", "5"]

    def test_accounts_and_applications_are_selected(
        self, provider: GoogleReports, custody: Custody
    ) -> None:
        chosen = {"accounts": [LOGINS[1]], "applications": ["login", "admin"]}
        with serving(provider):
            self.build(provider, **chosen).collect(order(), custody)
        found = [email_of(one) for page in pages_of(custody) for one in page["items"]]
        assert found == [LOGINS[1]] * 6
        folders = (sealed_folder(custody) / "files").glob("*/*")
        assert {path.name for path in folders} == {"a%2Fsilva@example.com"}

    def test_used_up_quota_is_waited_for(self, provider: GoogleReports, custody: Custody) -> None:
        busy = b'{"error": {"errors": [{"reason": "userRateLimitExceeded"}]}}'
        provider.faults = [Fault(method="GET", status=403, body=busy)]
        with serving(provider):
            result = self.build(provider).collect(order(), custody)
        assert (result.state, result.facts["unread"]) == (EffectState.DONE, 0)
        assert len(provider.paused) == 1
