"""Amazon Connect contact records as evidence, from a checked imitation."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.amazon_connect import AmazonConnectEvidence
from standfast.config.sections.accounts import AmazonConnectConfig
from standfast.config.sections.evidence_sources import AmazonConnectEvidenceConfig
from standfast.evidence.manifest import Kind
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    NOW,
    SealedContract,
    order,
    sealed_manifest,
)
from tests.adapters.evidence_sources.paged_contract import pages_of
from tests.adapters.settings import settings_of
from tests.servers.amazon_connect import ConnectInstance, running_amazon_connect

AGENTS = ("agent-1", "agent-2")


@pytest.fixture
def instance() -> Iterator[ConnectInstance]:
    with running_amazon_connect() as instance:
        instance.page_size = 2
        instance.contacts = [
            {
                "Id": f"contact-{number}",
                "InitiationTimestamp": int(NOW.timestamp()) + 60 * minutes,
                "Channel": "VOICE",
                "AgentInfo": {"Id": AGENTS[number % 2]},
            }
            for number, minutes in enumerate([-300, -90, -80, -70, -60, -50, 1])
        ]
        yield instance


def source_of(instance: ConnectInstance, **settings: object) -> AmazonConnectEvidence:
    directory = settings_of(
        AmazonConnectConfig,
        instance_id=instance.id,
        no_access_security_profile=instance.no_access,
        access_key_id="id",
        secret_access_key="secret",
        endpoint_url=instance.url,
    )
    context = replace(CONTEXT, accounts={"agents": directory}, sleep=instance.clock.sleep)
    config = settings_of(AmazonConnectEvidenceConfig, directory="agents", hours=2, **settings)
    return AmazonConnectEvidence("logs", config, context)


def contacts(custody: Custody) -> list[str]:
    return [contact["Id"] for page in pages_of(custody) for contact in page["Contacts"]]


class TestAmazonConnectEvidence(SealedContract):
    @pytest.fixture
    def source(self, instance: ConnectInstance) -> AmazonConnectEvidence:
        return source_of(instance)


def test_throttled_window_is_read_to_its_end(instance: ConnectInstance, custody: Custody) -> None:
    instance.page_size = 1
    source = source_of(instance)
    assert source.collect(order(), custody).facts["unread"] == 0
    assert contacts(custody) == [f"contact-{number}" for number in range(1, 6)]
    assert source.collect(order("token-2"), custody).state is EffectState.DONE
    assert instance.count("SearchContacts") > 10  # some requests were refused first


def test_lost_page_is_sealed_with_its_reason(instance: ConnectInstance, custody: Custody) -> None:
    instance.page_size, instance.lost_pages = 2, frozenset({"2"})
    result = source_of(instance).collect(order(), custody)
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
    assert contacts(custody) == ["contact-1", "contact-2"]
    (lost,) = (item for item in sealed_manifest(custody).items if item.kind is Kind.UNREAD)
    assert lost.path.endswith("/000002.json")
    assert "500" in lost.reason


def test_agents_are_selected(instance: ConnectInstance, custody: Custody) -> None:
    source_of(instance, agent_ids=[AGENTS[1]]).collect(order(), custody)
    assert contacts(custody) == ["contact-1", "contact-3", "contact-5"]
