import smtplib

import pytest

from tests.servers.smtp import DROP, SmtpServer, running_smtp

MAIL = b"Subject: hello\r\n\r\nword\r\n"


def client(server: SmtpServer) -> smtplib.SMTP:
    return smtplib.SMTP(server.host, server.port, timeout=60)


def test_a_message_lands_in_the_mailbox(smtp_server: SmtpServer) -> None:
    with client(smtp_server) as smtp:
        smtp.sendmail("from@shop.test", ["to@shop.test"], MAIL)
    (delivered,) = smtp_server.delivered
    assert delivered.recipients == ("to@shop.test",)
    assert delivered.message["Subject"] == "hello"
    assert delivered.raw == MAIL


def test_only_the_scripted_recipient_is_refused(smtp_server: SmtpServer) -> None:
    smtp_server.answer_recipient("gone@shop.test", "550 5.1.1 no such mailbox")
    with client(smtp_server) as smtp:
        refused = smtp.sendmail("from@shop.test", ["gone@shop.test", "to@shop.test"], MAIL)
    assert refused["gone@shop.test"][0] == 550
    assert smtp_server.delivered[0].recipients == ("to@shop.test",)


def test_a_scripted_answer_to_data_takes_nothing(smtp_server: SmtpServer) -> None:
    smtp_server.answer_next_data("451 4.3.0 try later")
    with client(smtp_server) as smtp:
        with pytest.raises(smtplib.SMTPDataError, match="try later"):
            smtp.sendmail("from@shop.test", ["to@shop.test"], MAIL)
        assert smtp_server.delivered == ()
        smtp.sendmail("from@shop.test", ["to@shop.test"], MAIL)
    assert len(smtp_server.delivered) == 1


@pytest.mark.parametrize(("is_taken", "count"), [(True, 1), (False, 0)])
def test_the_connection_is_cut_after_data(
    smtp_server: SmtpServer, is_taken: bool, count: int
) -> None:
    if is_taken:
        smtp_server.drop_after_data()
    else:
        smtp_server.answer_next_data(DROP)
    smtp = client(smtp_server)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        smtp.sendmail("from@shop.test", ["to@shop.test"], MAIL)
    smtp.close()
    assert len(smtp_server.delivered) == count


def test_a_held_server_says_nothing_until_released(smtp_server: SmtpServer) -> None:
    smtp_server.hold("data")
    smtp = client(smtp_server)
    smtp.ehlo()
    smtp.mail("from@shop.test")
    smtp.rcpt("to@shop.test")
    smtp.docmd("DATA")
    smtp.send(MAIL + b".\r\n")
    smtp_server.wait_for("data")
    assert smtp.sock is not None
    smtp.sock.settimeout(0.2)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.getreply()
    smtp.close()
    smtp_server.release()
    with client(smtp_server) as again:
        again.sendmail("from@shop.test", ["to@shop.test"], MAIL)


def test_a_server_without_smtputf8_does_not_offer_it() -> None:
    with running_smtp(smtputf8=False) as server, client(server) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("smtputf8")


def test_a_server_with_credentials_turns_strangers_away() -> None:
    with running_smtp(credentials=("relay", "right")) as server, client(server) as smtp:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login("relay", "wrong")
        smtp.login("relay", "right")
        smtp.sendmail("from@shop.test", ["to@shop.test"], MAIL)
        assert server.delivered[0].signed_in_as == "relay"
