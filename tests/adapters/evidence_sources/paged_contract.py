"""Contract of the sources that read a provider's log page by page.

The provider is imitated over HTTP, and the imitation must match its published description.
"""

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.paged_http_source import PagedHttpSource
from standfast.adapters.evidence_sources.sealed_source import SourceContext
from standfast.config.sections.accounts import AccountsConfig
from standfast.errors import Unavailable
from standfast.evidence.manifest import Kind
from standfast.records import EffectState
from standfast.retry_rules import MOST_TRIES
from tests.adapters.accounts.described import Fault, Provider, serving
from tests.adapters.evidence_sources.contract import (
    CONTEXT,
    SealedContract,
    order,
    sealed_folder,
    sealed_manifest,
)

HOSTILE = "\x1b[2J\u202e=HYPERLINK()\ud800"


class LogProvider(Provider):
    """A provider with a log of three pages and revocable tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.paused: list[float] = []
        self.bearers: set[str] = set()

    def is_authorised(self, authorization: str) -> bool:
        return authorization in self.bearers

    def give_token(self, path: str, form: dict[str, str]) -> dict[str, Any] | None:
        token = f"token-{self.tokens_given}"
        self.bearers = {f"Bearer {token}"}
        return {"access_token": token, "expires_in": 3600}

    def context(self, directory: AccountsConfig) -> SourceContext:
        """Return a context with the directory; it records its pauses only."""
        return replace(CONTEXT, accounts={"workforce": directory}, sleep=self.paused.append)


def pages_of(custody: Custody, token: str = "token-1") -> list[Any]:
    """Return the sealed pages in their order."""
    files = sorted((sealed_folder(custody, token) / "files").rglob("*.json"))
    return [json.loads(file.read_bytes()) for file in files]


class PagedContract(SealedContract):
    """Contract of a source with pages: needs a `provider` and a `build`."""

    @pytest.fixture
    @abstractmethod
    def provider(self) -> LogProvider: ...

    @abstractmethod
    def build(self, provider: Any, **settings: object) -> PagedHttpSource: ...

    @pytest.fixture
    def source(self, provider: LogProvider) -> Iterator[PagedHttpSource]:
        with serving(provider):
            yield self.build(provider)
            assert provider.broken == []

    def test_expired_token_is_renewed_between_pages(
        self,
        source: PagedHttpSource,
        provider: LogProvider,
        custody: Custody,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        act: Callable[..., Any] = provider.act

        def act_and_revoke(call: Any) -> Any:
            provider.bearers.clear()
            return act(call)

        monkeypatch.setattr(provider, "act", act_and_revoke)
        result = source.collect(order(), custody)
        assert (result.state, result.facts["unread"]) == (EffectState.DONE, 0)
        assert provider.tokens_given >= 3

    def test_busy_provider_is_asked_again(
        self, source: PagedHttpSource, provider: LogProvider, custody: Custody
    ) -> None:
        provider.faults = [
            Fault(method="GET", status=429, headers=(("Retry-After", "7"),)),
            Fault(method="GET", status=503),
            Fault(method="GET"),
        ]
        result = source.collect(order(), custody)
        assert (result.state, result.facts["unread"]) == (EffectState.DONE, 0)
        assert len(provider.paused) == 3
        assert provider.paused[0] == 7

    def test_lost_page_is_sealed_with_its_reason(
        self,
        source: PagedHttpSource,
        provider: LogProvider,
        custody: Custody,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        act: Callable[..., Any] = provider.act

        def act_and_fail(call: Any) -> Any:
            provider.faults = [Fault(method="GET", status=500)] * MOST_TRIES
            return act(call)

        monkeypatch.setattr(provider, "act", act_and_fail)
        result = source.collect(order(), custody)
        assert result.state is EffectState.DONE
        lost = [item for item in sealed_manifest(custody).items if item.kind is Kind.UNREAD]
        # Of each log, the first page is frozen and the second is lost.
        assert len(lost) == result.facts["files"]
        assert all(item.path.endswith("/000002.json") for item in lost)
        assert all("500" in item.reason for item in lost)

    def test_unreadable_log_is_no_evidence(
        self, source: PagedHttpSource, provider: LogProvider, custody: Custody
    ) -> None:
        provider.faults = [Fault(method="GET", status=500)] * 20
        result = source.collect(order(), custody)
        assert result.state is EffectState.FAILED
        assert result.retry_after_seconds
        assert not source.find(order(), custody)

    def test_refused_credential_is_final_and_named(
        self, source: PagedHttpSource, provider: LogProvider, custody: Custody
    ) -> None:
        provider.faults = [Fault(method="GET", status=403)] * 20
        result = source.collect(order(), custody)
        assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, None)
        provider.faults = [Fault(method="GET", status=403)] * 20
        with pytest.raises(Unavailable):
            source.describe()

    @pytest.mark.parametrize("body", [b"", b"{", b"null", b"[" * 100_000])
    def test_answer_without_a_page_is_not_sealed(
        self, source: PagedHttpSource, provider: LogProvider, custody: Custody, body: bytes
    ) -> None:
        provider.faults = [Fault(method="GET", status=200, body=body)] * 20
        assert source.collect(order(), custody).state is EffectState.FAILED
