"""CloudWatch log groups as evidence: moto, and faults of an imitation."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.cloudwatch import CloudwatchEvidence
from standfast.config.sections.evidence_sources import CloudwatchEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.manifest import Kind
from standfast.records import EffectState
from standfast.retry_rules import MOST_TRIES
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    SealedContract,
    order,
    sealed_folder,
    sealed_manifest,
)
from tests.adapters.evidence_sources.paged_contract import pages_of
from tests.adapters.settings import settings_of
from tests.servers.moto import REGION, Moto, moto_server
from tests.servers.over_http import Answering, listening

__all__ = ["moto_server"]
FREEZE = datetime.now(UTC)  # CloudWatch refuses events that are older than two weeks
HOSTILE = "\x1b[2J =HYPERLINK() " + "x" * 100_000


@pytest.fixture
def group(moto_server: Moto) -> str:
    """A log group with an event before, in and after the window."""
    client = moto_server.client("logs")
    name = f"/contact-centre/{uuid.uuid4().hex}"
    client.create_log_group(logGroupName=name)
    client.create_log_stream(logGroupName=name, logStreamName="desk")
    times = [-300, -90, -60, -30, 1]
    events = [
        {
            "timestamp": int((FREEZE + timedelta(minutes=minutes)).timestamp() * 1000),
            "message": f"event {number} of m.keller {HOSTILE}",
        }
        for number, minutes in enumerate(times)
    ]
    client.put_log_events(logGroupName=name, logStreamName="desk", logEvents=events)
    return name


def source_of(url: str, groups: list[str], key: str, secret: str) -> CloudwatchEvidence:
    settings = settings_of(
        CloudwatchEvidenceConfig,
        log_groups=groups,
        hours=2,
        region=REGION,
        access_key_id=key,
        secret_access_key=secret,
        endpoint_url=url,
    )
    return CloudwatchEvidence(
        "logs", settings, replace(CONTEXT, clock=lambda: FREEZE, sleep=lambda _: None)
    )


def messages(custody: Custody) -> list[str]:
    return [event["message"] for page in pages_of(custody) for event in page["events"]]


class TestCloudwatchEvidence(SealedContract):
    @pytest.fixture
    def source(self, moto_server: Moto, group: str) -> CloudwatchEvidence:
        return source_of(moto_server.url, [group], moto_server.admin.id, moto_server.admin.secret)

    def test_window_of_a_group_is_kept(
        self, source: CloudwatchEvidence, custody: Custody, group: str
    ) -> None:
        source.collect(order(), custody)
        assert [int(text.split()[1]) for text in messages(custody)] == [1, 2, 3]
        assert messages(custody)[0].endswith(HOSTILE)
        (folder,) = (sealed_folder(custody) / "files").iterdir()
        assert folder.name == group.strip("/").replace("/", "%2F")

    def test_missing_group_is_named_and_rest_collected(
        self, moto_server: Moto, group: str, custody: Custody
    ) -> None:
        admin = moto_server.admin
        source = source_of(moto_server.url, ["nowhere", group], admin.id, admin.secret)
        result = source.collect(order(), custody)
        assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
        assert "ResourceNotFoundException" in sealed_manifest(custody).items[0].reason


def imitation(answers: list[tuple[int, Any]]) -> type[Answering]:
    """Return a handler that sends the answers in order."""

    class Handler(Answering):
        def do_POST(self) -> None:
            self.body()
            status, body = answers.pop(0)
            self.answer(status, json.dumps(body).encode())

    return Handler


def test_throttled_and_empty_pages_are_survived(custody: Custody) -> None:
    busy = {"__type": "com.amazonaws.logs#ThrottlingException"}
    answers = [
        (400, busy),
        (200, {"events": [], "nextToken": "a"}),
        (500, {}),
        (200, {"events": [{"message": "last"}]}),
    ]
    with listening(imitation(answers)) as port:
        source = source_of(f"http://127.0.0.1:{port}", ["group"], "id", "secret")
        result = source.collect(order(), custody)
    assert (result.facts["files"], result.facts["unread"]) == (2, 0)
    assert messages(custody) == ["last"]


def test_lost_page_is_sealed_with_its_reason(custody: Custody) -> None:
    page = {"events": [{"message": "first"}], "nextToken": "a"}
    with listening(imitation([(200, page), *[(500, {})] * MOST_TRIES])) as port:
        result = source_of(f"http://127.0.0.1:{port}", ["group"], "id", "secret").collect(
            order(), custody
        )
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
    first, lost = (item for item in sealed_manifest(custody).items if item.kind is not Kind.FOLDER)
    assert (first.kind, lost.kind) == (Kind.FILE, Kind.UNREAD)
    assert lost.path.endswith("/000002.json")
    assert "500" in lost.reason


def test_refused_key_is_final_and_named(custody: Custody) -> None:
    refused = (400, {"__type": "ExpiredTokenException"})
    with listening(imitation([refused] * 2)) as port:
        source = source_of(f"http://127.0.0.1:{port}", ["group"], "id", "secret")
        result = source.collect(order(), custody)
        assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, None)
        with pytest.raises(Unavailable):
            source.describe()
