"""Telling people by mail: the whole step, from opening the incident to every receipt.

The peer has its mails written before the clock starts and keeps four connections open. Standfast
reads the audience, renders, checks and seals each mail, commits each intent and each receipt, and
opens a connection for every ten.
"""

import smtplib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.policy import SMTP

from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from benchmarks.sink import Sink, running_sink
from standfast.errors import ExitStatus
from standfast.operations import incident
from standfast.records import Mode
from tests.operations.places import furnish, place_at

_CONNECTIONS = 4  # as many as a sender of mail has, if nothing else is configured

_PLAYBOOK = """
playbook: tell
version: 1
title: Tell the staff
use_when: How fast mails leave is being measured.
steps:
  tell:
    title: Warn our own staff
    do: notices.send
    with:
      template: staff-heads-up
      audience: staff
      context:
        what_happened: account-takeover
    approval:
      none_because: It is a measurement, and the mails go nowhere.
"""


def rows(setting: Setting) -> list[Row]:
    """Send as many mails through Standfast and through bare smtplib."""
    count = setting.size(1_000, 100)
    what = f"send {count:,} mails"
    with running_sink() as sink:

        def ours(number: int) -> Mapping[str, float]:
            folder = setting.room(f"place-{number}")
            config_file = furnish(folder, smtp_port=sink.port, staff=count, mail_timeout_seconds=30)
            (folder / "playbooks").mkdir()
            (folder / "playbooks/tell.yaml").write_text(_PLAYBOOK)
            with config_file.open("a") as file:
                file.write('\n[playbooks]\nfolder = "playbooks"\n')
            with place_at(config_file) as place:
                watch = Stopwatch()
                opened = incident.open_incident(place, "tell", {}, mode=Mode.LIVE, opened_by="dana")
                outcome = incident.advance(place, opened.incident, "direct")
                seconds = watch.seconds()
                expect(outcome.exit_status is ExitStatus.DONE, "the incident is done")
            _expect_each_once(sink, count)
            return {what: count / seconds}

        def bare(_number: int) -> Mapping[str, float]:
            mails = [_mail(f"staff{number}@example.com") for number in range(1, count + 1)]
            shares = [mails[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
            watch = Stopwatch()
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                list(pool.map(lambda share: _send(sink.port, share), shares))
            seconds = watch.seconds()
            _expect_each_once(sink, count)
            return {what: count / seconds}

        return compare(
            "notices",
            {what: "mails/s"},
            [
                Contender(subject="standfast", run=ours),
                Contender(subject=f"bare smtplib, {_CONNECTIONS} connections", run=bare),
            ],
            setting,
        )


def _expect_each_once(sink: Sink, count: int) -> None:
    wanted = sorted(f"staff{number}@example.com" for number in range(1, count + 1))
    arrived = sorted(sink.take())
    expect(arrived == wanted, f"each of {count} has one mail; {len(arrived)} arrived")


def _send(port: int, mails: Sequence[tuple[str, bytes]]) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="example.com", timeout=30) as smtp:
        for address, payload in mails:
            smtp.sendmail("security@example.com", [address], payload)


def _mail(address: str) -> tuple[str, bytes]:
    """Write a mail of about the size of a real notice: 1.5 kB of text, 4 kB of HTML."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = "security@example.com", address, "Please read"
    mail.set_content("Please call the number on your card if you see this.\n" * 28)
    mail.add_alternative("<p>Please call the number on your card.</p>\n" * 90, subtype="html")
    return address, mail.as_bytes()
