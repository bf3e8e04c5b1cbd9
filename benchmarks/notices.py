"""Notification of many people, from opening to the last receipt.

An intent is the stored record of a message before it is sent, and a receipt is the stored result.
Notices are sent by mail, and through an imitation of SendGrid in its own process, to growing
numbers of people. For SendGrid, planning (recipients are read, messages rendered, hashed and
stored) and sending (until the last receipt is stored) have separate figures, and the processor time
of the imitation is shown. For comparison: listmonk publishes a rate of 7.2 million mails in 144
minutes (833 a second), without a record of each mail. The few messages that are normally sent first
(the canary), and the pause after them, are switched off. `--all` measures up to a million people.

The peer, with which Standfast is compared, is bare `smtplib`. Its mails are written before the
clock starts, and it keeps four connections open. Standfast reads the recipients, renders, checks
and encrypts each mail, commits each intent and each receipt, and opens a connection for every ten
mails.
"""

from __future__ import annotations

import json
import smtplib
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.imitations import ImitationConnection, running_imitation
from benchmarks.imitations.sendgrid import running_sendgrid_imitation
from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from standfast.errors import ExitStatus
from standfast.records import Mode
from standfast.usecases.incidents import lifecycle
from tests.servers import free_port
from tests.usecases.installations import furnish, installation_at

_CONNECTIONS = 4  # the default of a mail sender
_SINK_SECONDS = 30

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


_GRID = """
[senders.grid]
kind = "sendgrid"
key = "env:SENDGRID_KEY"
sender_address = "security@example.com"
url = "{url}"
batch = 1000
workers = 2

[playbooks]
folder = "playbooks"
"""
_AT_ONCE = "abort_window_seconds = 0", "abort_window_seconds = 0\ncanary_percent = 0"
_AS_STAFF = "[notices]", '[notices]\nstaff_audience = "customers"'
_SECONDS_A_ROUND = 5400
_LOOK_SECONDS = 10
_LISTMONK_A_SECOND = 7_200_000 / (144 * 60)


def rows(setting: Setting) -> list[Row]:
    """Send by Standfast, by bare smtplib, then many by SendGrid."""
    found = _mail_rows(setting)
    sizes = [1_000, 3_000] if setting.is_quick else [10_000, 100_000]
    for count in [*sizes, *([1_000_000] if setting.is_all else [])]:
        found += _sendgrid_rows(setting, count)
    return found


def _sendgrid_rows(setting: Setting, count: int) -> list[Row]:
    units = {
        f"send to {count:,} people": "people/s",
        f"plan and send to {count:,} people": "people/s",
        f"processor of planning, {count:,} people": "µs/person",
        f"processor of sending, {count:,} people": "µs/person",
        f"processor of the imitation, {count:,} people": "µs/person",
        f"memory, {count:,} people": "MB",
    }
    send, both, plan_cpu, send_cpu, their_cpu, memory = units

    def ours(number: int) -> Mapping[str, float]:
        folder = setting.new_folder(f"grid-{count}-{number}")
        config_file = furnish(folder, customers=count)
        (folder / "playbooks").mkdir()
        tell = _PLAYBOOK.replace("audience: staff", "audience: customers\n      sender: grid")
        (folder / "playbooks/tell.yaml").write_text(tell)
        with running_sendgrid_imitation(folder / "ledger.db") as account:
            # A notice to staff needs no approval, so the run waits for nobody.
            settings = config_file.read_text().replace(*_AT_ONCE).replace(*_AS_STAFF)
            config_file.write_text(settings + _GRID.format(url=account.url))
            before = account.seen().cpu_seconds
            with _progress(folder / "ledger.db", count, setting.report_progress):
                used = processes.run(
                    [sys.executable, "-m", "benchmarks.sending", str(folder)],
                    seconds=_SECONDS_A_ROUND,
                )
            seen = account.seen()
        figures = json.loads((folder / "figures.json").read_text())
        expect(
            (seen.messages, seen.people, seen.tokens) == (count, count, count),
            f"each of {count} has one mail, not {seen}",
        )
        expect(0 < seen.first == seen.intents, "the ledger knew of each mail before it left")
        return {
            send: count / figures["send_seconds"],
            both: count / (figures["plan_seconds"] + figures["send_seconds"]),
            plan_cpu: figures["plan_cpu_seconds"] / count * 1e6,
            send_cpu: figures["send_cpu_seconds"] / count * 1e6,
            their_cpu: (seen.cpu_seconds - before) / count * 1e6,
            memory: used.memory_bytes / 1e6,
        }

    def listmonk(_number: int) -> Mapping[str, float]:
        return {send: _LISTMONK_A_SECOND, both: _LISTMONK_A_SECOND}

    return compare(
        "notices",
        units,
        [
            Contender(subject="standfast, SendGrid", run=ours),
            Contender(subject="listmonk", run=listmonk, note="as published, on other machines"),
        ],
        setting,
        seconds_a_round=_SECONDS_A_ROUND,
        rounds=1 if count > 10_000 else None,
    )


@contextmanager
def _progress(ledger: Path, count: int, report_progress: Callable[[str], None]) -> Iterator[None]:
    """Print periodically how many messages are planned and sent."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
                (planned,) = connection.execute("SELECT max(rowid) FROM effect").fetchone()
                (sent,) = connection.execute(
                    "SELECT sum(size) FROM attempt WHERE ended_at IS NOT NULL"
                ).fetchone()
            report_progress(f"  planned {planned or 0:,}, handed over {sent or 0:,} of {count:,}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _mail_rows(setting: Setting) -> list[Row]:
    count = setting.size(1_000, 100)
    metric = f"send {count:,} mails"
    with running_sink() as sink:

        def ours(number: int) -> Mapping[str, float]:
            folder = setting.new_folder(f"place-{number}")
            config_file = furnish(folder, smtp_port=sink.port, staff=count, mail_timeout_seconds=30)
            (folder / "playbooks").mkdir()
            (folder / "playbooks/tell.yaml").write_text(_PLAYBOOK)
            settings = config_file.read_text().replace(*_AT_ONCE)
            config_file.write_text(f'{settings}\n[playbooks]\nfolder = "playbooks"\n')
            with installation_at(config_file) as installation:
                watch = Stopwatch()
                opened = lifecycle.open_incident(
                    installation, "tell", {}, mode=Mode.LIVE, opened_by="dana"
                )
                outcome = lifecycle.advance(installation, opened.incident, "direct")
                seconds = watch.seconds()
                expect(outcome.exit_status is ExitStatus.DONE, "the incident is done")
            _expect_each_once(sink, count)
            return {metric: count / seconds}

        def bare(_number: int) -> Mapping[str, float]:
            mails = [_mail(f"staff{number}@example.com") for number in range(1, count + 1)]
            shares = [mails[start::_CONNECTIONS] for start in range(_CONNECTIONS)]
            watch = Stopwatch()
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                list(pool.map(lambda share: _send(sink.port, share), shares))
            seconds = watch.seconds()
            _expect_each_once(sink, count)
            return {metric: count / seconds}

        return compare(
            "notices",
            {metric: "mails/s"},
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
    """Write a mail as large as a real notice.

    It has 1.5 kB of text and 4 kB of HTML.
    """
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = "security@example.com", address, "Please read"
    mail.set_content("Please call the number on your card if you see this.\n" * 28)
    mail.add_alternative("<p>Please call the number on your card.</p>\n" * 90, subtype="html")
    return address, mail.as_bytes()


class Sink:
    """Client of a mail server in its own process that records recipients."""

    def __init__(self, port: int, line: ImitationConnection) -> None:
        self.port = port
        self._line = line

    def take(self) -> list[str]:
        """Return and remove the recipients since the last call, in order."""
        taken: list[str] = self._line.ask("take")
        return taken


@contextmanager
def running_sink() -> Iterator[Sink]:
    """Start the mail server on a free port; stop it at the end of the block."""
    port = free_port()
    with running_imitation("the mail server", _serve, port, seconds=_SINK_SECONDS) as (line, first):
        expect(first == "ready", "the mail server starts")
        yield Sink(port, line)


class _Mailbox:
    """Handler for aiosmtpd that keeps the recipients of whole mails."""

    def __init__(self) -> None:
        self.recipients: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.recipients += envelope.rcpt_tos
        return "250 OK"


def _serve(port: int, line: Connection[Any, Any]) -> None:
    from aiosmtpd.controller import Controller

    mailbox = _Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, ready_timeout=_SINK_SECONDS)
    controller.start()
    try:
        line.send("ready")
        while line.recv() == "take":
            taken, mailbox.recipients = mailbox.recipients, []
            line.send(taken)
    except EOFError:
        pass
    finally:
        controller.stop()
