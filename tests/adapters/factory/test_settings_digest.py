from pathlib import Path

from standfast.adapters.factory.settings_digest import adapter_settings_digests
from standfast.config import SecretReference
from standfast.config.loader import parse
from standfast.config.sections.accounts import OktaConfig
from standfast.config.sections.evidence_sources import OktaEvidenceConfig
from tests.adapters.settings import settings_of
from tests.config.example import COMPLETE


def digest_for(url: str) -> str:
    directory = OktaConfig(kind="okta", url=url, token=SecretReference("env:OKTA_TOKEN"))
    log = settings_of(OktaEvidenceConfig, directory="workforce")
    config = parse(COMPLETE.encode(), Path("standfast.toml")).model_copy(
        update={"accounts": {"workforce": directory}, "evidence": {"log": log}}
    )
    return adapter_settings_digests(config, "evidence.snapshot", "log")["log"]


def test_approval_covers_the_directory_of_a_log() -> None:
    assert digest_for("https://a.example.com") == digest_for("https://a.example.com")
    assert digest_for("https://a.example.com") != digest_for("https://b.example.com")
