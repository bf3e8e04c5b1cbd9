"""Mails are sent to a relay with TLS, or not at all."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from standfast.records import EffectState
from tests.adapters.senders.sender_contract import message
from tests.adapters.senders.smtp_senders import sender_for
from tests.servers.certificate import write_certificate
from tests.servers.smtp import SmtpServer, running_smtp


class Authority:
    """A certificate for 127.0.0.1 and the file that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.file, key = write_certificate(folder)
        self.server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_side.load_cert_chain(self.file, key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure_server(authority: Authority) -> Iterator[SmtpServer]:
    with running_smtp(starttls=authority.server_side, credentials=("relay", "right")) as server:
        yield server


def test_starttls_and_sign_in_go_together(secure_server: SmtpServer, authority: Authority) -> None:
    sender = sender_for(
        secure_server,
        security="starttls",
        ca_file=authority.file,
        username="relay",
        password="right",
    )
    (result,) = sender.send([message()])
    assert result.state is EffectState.DONE
    (delivered,) = secure_server.delivered
    assert delivered.was_encrypted
    assert delivered.signed_in_as == "relay"


def test_wrong_password_fails_without_retry(
    secure_server: SmtpServer, authority: Authority
) -> None:
    sender = sender_for(
        secure_server,
        security="starttls",
        ca_file=authority.file,
        username="relay",
        password="wrong-secret",
    )
    results = sender.send([message(1), message(2)])
    assert {(result.state, result.retry_after_seconds) for result in results} == {
        (EffectState.FAILED, None)
    }
    assert "535" in results[0].reason
    assert "wrong-secret" not in results[0].reason


def test_untrusted_certificate_stops_the_call(secure_server: SmtpServer) -> None:
    (result,) = sender_for(secure_server, security="starttls").send([message()])
    assert result.state is EffectState.FAILED
    assert "certificate" in result.reason
    assert secure_server.delivered == ()


def test_a_relay_without_starttls_gets_no_plain_text(smtp_server: SmtpServer) -> None:
    (result,) = sender_for(smtp_server, security="starttls").send([message()])
    assert result.state is EffectState.FAILED
    assert "STARTTLS" in result.reason
    assert smtp_server.delivered == ()


def test_tls_from_the_start_meets_no_plain_relay(smtp_server: SmtpServer) -> None:
    (result,) = sender_for(smtp_server, security="tls").send([message()])
    assert result.state is EffectState.FAILED
    assert smtp_server.delivered == ()


def test_missing_ca_file_is_named_by_key(smtp_server: SmtpServer, tmp_path: Path) -> None:
    sender = sender_for(smtp_server, security="tls", ca_file=tmp_path / "none.pem")
    (result,) = sender.send([message()])
    assert (result.state, result.retry_after_seconds) == (EffectState.FAILED, None)
    assert "ca_file" in result.reason
