"""AWS client against a service that stalls, throttles or breaks."""

import socket
from collections.abc import Iterator

import pytest

from standfast.adapters.accounts.base.aws_client import AwsClient
from standfast.adapters.accounts.base.per_account_connector import OutcomeUnknown, ProviderRefused
from standfast.config.sections.accounts import AwsIamConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.time_limit import Deadline
from tests.adapters.accounts.connect import context
from tests.adapters.accounts.scripted import Behaviour, Scripted, replying, scripted_directory
from tests.adapters.settings import settings_of


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    with scripted_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def client(scripted: Scripted) -> Iterator[AwsClient]:
    """One client for all tests, because the SDK needs long to make it."""
    client = client_at(scripted.url)
    yield client
    client.close()


@pytest.fixture
def service(scripted: Scripted) -> Scripted:
    scripted.asked.clear()
    return scripted


def client_at(url: str) -> AwsClient:
    key = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "hunter2"}
    settings = settings_of(AwsIamConfig, **key).model_copy(update={"endpoint_url": url})
    return AwsClient("iam", settings, context())


def change(client: AwsClient, seconds: float = 10.0) -> object:
    return client.change(
        "update_access_key",
        Deadline(seconds),
        absent="NoSuchEntity",
        UserName="alice",
        AccessKeyId="AKIAIOSFODNN7EXAMPLE",
        Status="Inactive",
    )


def read(client: AwsClient, seconds: float = 10.0) -> object:
    return client.read("get_user", Deadline(seconds), absent="NoSuchEntity", UserName="alice")


def failing(status: int, code: str, **headers: str) -> Behaviour:
    body = (
        f"<ErrorResponse><Error><Code>{code}</Code><Message>alice</Message></Error></ErrorResponse>"
    )
    return replying(status, body.encode(), **headers)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "Throttling"), (400, "TooManyRequestsException"), (429, "Other"), (503, "Unavailable")],
)
@pytest.mark.parametrize(("asks", "seconds"), [("7", 7.0), ("", 1.0), ("99999", 300.0)])
def test_busy_service_is_retried_when_it_asks(
    service: Scripted, client: AwsClient, status: int, code: str, asks: str, seconds: float
) -> None:
    service.script("POST", failing(status, code, Retry_After=asks))
    with pytest.raises(Unavailable) as caught:
        change(client)
    assert caught.value.retry_after_seconds == seconds
    assert service.count("POST") == 1  # the SDK did not retry


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidClientTokenId", "ExpiredToken"])
def test_refused_credential_is_reported_and_not_retried(
    service: Scripted, client: AwsClient, code: str
) -> None:
    service.script("POST", failing(403, code))
    with pytest.raises(Unavailable, match="refuses the configured credential") as caught:
        change(client)
    assert caught.value.retry_after_seconds is None
    assert "alice" not in str(caught.value)


def test_what_is_absent_is_none(service: Scripted, client: AwsClient) -> None:
    service.script("POST", failing(404, "NoSuchEntity"), failing(404, "NoSuchEntity"))
    assert read(client) is None
    assert change(client) is None


def test_a_list_is_read_to_its_last_page(service: Scripted, client: AwsClient) -> None:
    """A key on the second page permits a sign-in, too."""

    def page(key: str, more: str = "") -> Behaviour:
        body = (
            "<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata><member>"
            f"<AccessKeyId>{key}</AccessKeyId></member></AccessKeyMetadata>{more}"
            "</ListAccessKeysResult></ListAccessKeysResponse>"
        )
        return replying(200, body.encode())

    more = "<IsTruncated>true</IsTruncated><Marker>after-one</Marker>"
    service.script("POST", page("AKIAFIRST", more), page("AKIASECOND"))
    keys = client.pages("list_access_keys", "AccessKeyMetadata", Deadline(10.0), UserName="alice")
    assert [key["AccessKeyId"] for key in keys] == ["AKIAFIRST", "AKIASECOND"]
    assert [b"Marker=after-one" in one.body for one in service.asked] == [False, True]


@pytest.mark.parametrize("code", ["LimitExceeded", "MalformedPolicyDocument", "of alice", ""])
def test_rejected_change_is_declined_without_aws_text(
    service: Scripted, client: AwsClient, code: str
) -> None:
    service.script("POST", failing(409, code))
    with pytest.raises(ProviderRefused, match="does not accept") as caught:
        change(client)
    assert "alice" not in str(caught.value)


def test_invalid_value_is_not_sent(service: Scripted, client: AwsClient) -> None:
    with pytest.raises(ProviderRefused):
        client.change("delete_login_profile", Deadline(10.0), UserName="")
    assert service.count("POST") == 0


@pytest.mark.parametrize("behaviour", [replying(500), lambda exchange: exchange.drop()])
def test_broken_answer_leaves_only_changes_unknown(
    service: Scripted, client: AwsClient, behaviour: Behaviour
) -> None:
    service.script("POST", behaviour, behaviour)
    with pytest.raises(OutcomeUnknown):
        change(client)
    with pytest.raises(Unavailable) as caught:
        read(client)
    assert caught.value.retry_after_seconds is not None


@pytest.mark.parametrize(
    "behaviour", [lambda exchange: exchange.hang(), lambda exchange: exchange.drip_body()]
)
def test_stalling_service_is_left_at_the_timeout(
    service: Scripted, client: AwsClient, behaviour: Behaviour
) -> None:
    service.script("POST", behaviour, behaviour)
    with pytest.raises(OutcomeUnknown, match="time-out"):
        change(client, 0.3)
    with pytest.raises(Unavailable, match="time-out"):
        read(client, 0.3)


def test_no_time_left_sends_nothing(service: Scripted, client: AwsClient) -> None:
    with pytest.raises(Unavailable):
        change(client, 0.0)
    assert service.count("POST") == 0


def test_nobody_listening_is_surely_not_done() -> None:
    with socket.socket() as reserved:  # bound and not listening, so every connection is refused
        reserved.bind(("127.0.0.1", 0))
        client = client_at(f"http://127.0.0.1:{reserved.getsockname()[1]}")
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            change(client)
        client.close()
    assert caught.value.retry_after_seconds is not None


def test_invalid_address_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="endpoint_url"):
        client_at("not an address").read("get_user", Deadline(1.0))
