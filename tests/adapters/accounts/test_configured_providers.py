"""From `[accounts.NAME]` to a connector: identity providers and clouds."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.build_context import BuildContext
from standfast.adapters.factory.live_adapters import build_adapter
from standfast.config import SecretReference
from standfast.config.loader import parse
from standfast.errors import FileInvalid
from tests.adapters.accounts.jwt_check import private_pem
from tests.servers.moto import Moto

ORGANISATION = '[organisation]\nname = "Example"\ncontact_line = "+44 20 7946 0000"\n'
KINDS = {
    "glewlwyd": 'url = "https://login.example.com/api"\npassword = "env:SECRET"\n',
    "aws_iam": "",
    "cognito": 'region = "eu-west-2"\nuser_pool_id = "eu-west-2_EXAMPLE"\n',
    "amazon_connect": 'instance_id = "i"\nno_access_security_profile = "n"\n',
    "okta": 'url = "https://example.okta.com"\ntoken = "env:SECRET"\n',
    "entra": 'tenant_id = "t"\nclient_id = "c"\nclient_secret = "env:SECRET"\n',
    "google_workspace": (
        'service_account = "s@example.com"\nadministrator = "a@example.com"\n'
        'private_key = "env:KEY"\n'
    ),
}
CONTRACT_TESTED = {"amazon_connect", "okta", "entra", "google_workspace"}


def reveal(reference: SecretReference) -> str:
    return {"env:SECRET": "hunter2", "env:KEY": private_pem()}[reference]


def build(kind: str, settings: str) -> Connector:
    text = f'{ORGANISATION}[accounts.people]\nkind = "{kind}"\n{settings}'
    config = parse(text.encode(), Path("standfast.toml"))
    means = BuildContext(reveal=reveal, clock=lambda: datetime.now(UTC))
    connector: Connector = build_adapter(Connector, "people", config.accounts["people"], means)
    return connector


def refusal_of(kind: str, settings: str) -> str:
    with pytest.raises(FileInvalid) as caught:
        build(kind, settings)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_built_from_its_smallest_settings(kind: str) -> None:
    connector = build(kind, KINDS[kind])
    connector.close()
    assert type(connector).__module__.startswith(f"standfast.adapters.accounts.{kind}")
    assert connector.name == "people"
    assert connector.is_contract_tested is (kind in CONTRACT_TESTED)
    assert connector.irreversible


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_described_under_its_own_heading(kind: str) -> None:
    page = Path(__file__).parents[3].joinpath("docs", "accounts.md").read_text()
    section = page.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
    for part in ("**Lock**", "**Prove**", "**Undo**", "**Needs**", "**Cannot**"):
        assert part in section
    assert ("**Contract-tested**" in section) is (kind in CONTRACT_TESTED)


@pytest.mark.parametrize("kind", KINDS)
def test_limits_are_those_that_were_written(kind: str) -> None:
    more = "timeout_seconds = 5\nper_second = 3\nburst = 2\nworkers = 7\n"
    limits = build(kind, KINDS[kind] + more).limits
    assert (limits.timeout_seconds, limits.per_second) == (5, 3)
    assert (limits.burst, limits.workers, limits.batch) == (2, 7, 1)


def test_connect_has_its_own_default_rate() -> None:
    limits = build("amazon_connect", KINDS["amazon_connect"]).limits
    assert (limits.per_second, limits.burst) == (1.0, 1)


def test_glewlwyd_probe_raises_the_proof_level() -> None:
    more = (
        "[accounts.people.revocation]\n"
        'url = "https://login.example.com/api/oidc/revoke"\n'
        'client_id = "desktop"\nclient_secret = "env:SECRET"\n'
        "[accounts.people.probe]\n"
        'url = "https://login.example.com/api/oidc/userinfo"\ncontrol_token = "env:SECRET"\n'
    )
    assert build("glewlwyd", KINDS["glewlwyd"]).proof.value == "sessions_gone"
    assert build("glewlwyd", KINDS["glewlwyd"] + more).proof.value == "refused"


def test_bulk_of_scim_is_what_one_call_carries() -> None:
    settings = 'url = "https://directory.example.com"\ntoken = "env:SECRET"\n'
    assert build("scim", settings).limits.batch == 1
    assert build("scim", settings + "bulk = 100\n").limits.batch == 100


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("aws_iam", 'access_key_id = "AKIA"\n', "or neither"),
        ("aws_iam", 'secret_access_key = "env:SECRET"\n', "or neither"),
        ("okta", 'url = "https://example.okta.com"\n', "either"),
        ("okta", KINDS["okta"] + 'client_id = "c"\n', "or neither"),
        (
            "okta",
            KINDS["okta"] + 'client_id = "c"\nprivate_key = "env:KEY"\n',
            "either",
        ),
        ("entra", KINDS["entra"].replace("env:SECRET", "hunter2"), "never written"),
        ("cognito", "", "user_pool_id"),
    ],
)
def test_what_does_not_fit_together_is_told(kind: str, settings: str, words: str) -> None:
    said = refusal_of(kind, settings)
    assert words in said
    assert "hunter2" not in said


def test_what_was_configured_reaches_the_cloud(moto_server: Moto) -> None:
    settings = (
        f'endpoint_url = "{moto_server.url}"\n'
        f'access_key_id = "{moto_server.admin.id}"\nsecret_access_key = "env:AWS"\n'
    )
    text = f'{ORGANISATION}[accounts.people]\nkind = "aws_iam"\n{settings}'
    config = parse(text.encode(), Path("standfast.toml"))
    secret = moto_server.admin.secret
    means = BuildContext(reveal=lambda _: secret, clock=lambda: datetime.now(UTC))
    connector = build_adapter(Connector, "people", config.accounts["people"], means)
    nobody, admin = connector.observe(["standfast-check", "admin"])
    connector.close()
    assert (nobody.exists, admin.exists) == (False, True)
