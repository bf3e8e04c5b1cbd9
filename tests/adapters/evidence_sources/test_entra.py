"""Entra ID sign-ins and audits as evidence, against Graph's metadata."""

import re
from datetime import timedelta
from typing import Any

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.entra import EntraEvidence
from standfast.config.sections.accounts import EntraConfig
from standfast.config.sections.evidence_sources import EntraEvidenceConfig
from standfast.records import EffectState, moment, timestamp
from tests.adapters.accounts.described import Call, Fault, serving
from tests.adapters.evidence_sources.contract import NOW, order, sealed_folder, sealed_manifest
from tests.adapters.evidence_sources.paged_contract import (
    HOSTILE,
    LogProvider,
    PagedContract,
    pages_of,
)
from tests.adapters.settings import settings_of

LOGINS = ("m.keller@example.com", "o'brien@example.com")


class EntraLog(LogProvider):
    """The logs of a tenant, listed as Graph does: two records a page."""

    contract = "entra"

    def __init__(self) -> None:
        super().__init__()
        times = [NOW - timedelta(hours=4), *(NOW - timedelta(minutes=90 - n) for n in range(5))]
        times.append(NOW + timedelta(minutes=1))
        self.sign_ins = [
            {
                "id": f"sign-in-{number}",
                "createdDateTime": timestamp(at),
                "userId": f"user-{number}",
                "userPrincipalName": LOGINS[number % 2],
                "ipAddress": "192.0.2.7",
                "userAgent": HOSTILE,
                "riskLevelAggregated": "high",
                "status": {"errorCode": 0},
            }
            for number, at in enumerate(times)
        ]
        self.audits = [
            {
                "id": f"audit-{number}",
                "activityDateTime": timestamp(at),
                "activityDisplayName": "Update user",
                "category": "UserManagement",
                "initiatedBy": {"user": {"id": "1", "displayName": LOGINS[number % 2]}},
            }
            for number, at in enumerate(times)
        ]

    def act(self, call: Call) -> tuple[int, Any]:
        wanted = call.query["$filter"]
        since, until = re.findall(r"(?:ge|le) (\S+Z)", wanted)
        accounts = [it.replace("''", "'") for it in re.findall(r"eq '((?:[^']|'')*)'", wanted)]
        is_sign_ins = call.operation.endswith("signIns")
        found = [
            record
            for record in (self.sign_ins if is_sign_ins else self.audits)
            if moment(since) <= moment(time_of(record)) <= moment(until)
            and (not accounts or account_of(record) in accounts)
        ]
        start = int(call.query.get("$skiptoken", "0"))
        page: dict[str, Any] = {"value": found[start : start + 2]}
        if start + 2 < len(found):
            page["@odata.nextLink"] = f"https://elsewhere.invalid/x?$skiptoken={start + 2}"
        return 200, page


def time_of(record: dict[str, Any]) -> str:
    return str(record.get("createdDateTime") or record["activityDateTime"])


def account_of(record: dict[str, Any]) -> str:
    return str(record.get("userPrincipalName") or record["initiatedBy"]["user"]["displayName"])


class TestEntraEvidence(PagedContract):
    @pytest.fixture
    def provider(self) -> EntraLog:
        return EntraLog()

    def build(self, provider: EntraLog, **settings: object) -> EntraEvidence:
        directory = settings_of(
            EntraConfig,
            tenant_id="example.onmicrosoft.com",
            client_id="5234",
            client_secret="secret",
            graph_url=provider.url,
            login_url=provider.url,
        )
        config = settings_of(EntraEvidenceConfig, directory="workforce", hours=2, **settings)
        return EntraEvidence("logs", config, provider.context(directory))

    def test_both_logs_are_read_to_their_ends(self, provider: EntraLog, custody: Custody) -> None:
        with serving(provider):
            self.build(provider).collect(order(), custody)
        found = [record["id"] for page in pages_of(custody) for record in page["value"]]
        assert found == [
            *(f"audit-{number}" for number in range(1, 6)),
            *(f"sign-in-{number}" for number in range(1, 6)),
        ]
        folders = {path.name for path in (sealed_folder(custody) / "files").iterdir()}
        assert folders == {"sign-ins", "directory-audits"}

    def test_accounts_are_selected(self, provider: EntraLog, custody: Custody) -> None:
        with serving(provider):
            self.build(provider, accounts=["O'Brien@example.com"]).collect(order(), custody)
        records = [record for page in pages_of(custody) for record in page["value"]]
        assert {account_of(record) for record in records} == {LOGINS[1]}
        assert len(records) == 6

    def test_log_without_licence_is_named(self, provider: EntraLog, custody: Custody) -> None:
        provider.faults = [Fault(method="GET", status=403)]
        with serving(provider):
            result = self.build(provider).collect(order(), custody)
        assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
        missing = sealed_manifest(custody).items[0]
        assert missing.path == "/sign-ins/000001.json"
        assert missing.reason
