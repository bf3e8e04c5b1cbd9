"""Imitation of SendGrid in its own process.

The separate process makes the processor time of the imitation measurable.

At its first request, the imitation reads the ledger (Standfast's database) through a separate
connection: the messages of the request must be recorded there as begun already.

It enforces SendGrid's limits, refuses one request in 97 with 429, to be repeated after a second,
and stores only two numbers of each message, so that a million messages fit into its memory.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.imitations import ImitationConnection, running_imitation

_SECONDS = 60
_ONE_REFUSED_IN = 97
_MOST_PEOPLE = 1_000
_MOST_BYTES = 30_000_000
_MOST_SUBSTITUTION_BYTES = 10_000


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Counts of messages, people, tokens and requests since the start."""

    messages: int
    people: int
    tokens: int
    requests: int
    turned_away: int
    cpu_seconds: float
    intents: int  # messages of the first request that the ledger had as begun
    first: int  # messages in the first request


class SendGridImitation:
    """Client of the running imitation."""

    def __init__(self, url: str, line: ImitationConnection) -> None:
        self.url = url
        self._line = line

    def seen(self) -> Seen:
        """Return the counts of accepted messages."""
        seen: Seen = self._line.ask("seen")
        return seen


@contextmanager
def running_sendgrid_imitation(ledger: Path) -> Iterator[SendGridImitation]:
    """Start the imitation on a free port; stop it at the end of the block."""
    name = "the imitation of SendGrid"
    with running_imitation(name, _serve, ledger, seconds=_SECONDS) as (line, url):
        yield SendGridImitation(url, line)


def _serve(ledger: Path, line: Connection[Any, Any]) -> None:
    from tests.servers.sendgrid import SendGrid, running_sendgrid

    class Counting(SendGrid):
        """An imitation of SendGrid that counts requests and intents."""

        intents, first, messages, asked, turned_away = 0, 0, 0, 0, 0

        def __post_init__(self) -> None:
            super().__post_init__()
            self.people: set[int] = set()
            self.tokens: set[int] = set()

        def judge(self, content: bytes) -> Any:
            people = json.loads(content)["personalizations"]
            if (wrong := _beyond(content, people)) is not None:
                return wrong, {"errors": []}, {}
            with self.guard:
                if not self.asked:
                    self.intents, self.first = _begun(ledger, people), len(people)
                self.asked += 1
                if self.asked % _ONE_REFUSED_IN == 0:
                    self.turned_away += 1
                    return 429, {"errors": []}, self.wait_header(1)
                self.messages += len(people)
                self.people.update(hash(person["to"][0]["email"]) for person in people)
                self.tokens.update(
                    hash(person["custom_args"]["standfast_token"]) for person in people
                )
                return 202, None, {"X-Message-Id": f"made-up-{self.asked}"}

    account = Counting(is_checked=False, keeps_texts=False)
    with running_sendgrid(account):
        line.send(account.url)
        try:
            while line.recv() == "seen":
                with account.guard:
                    seen = Seen(
                        messages=account.messages,
                        people=len(account.people),
                        tokens=len(account.tokens),
                        requests=account.asked,
                        turned_away=account.turned_away,
                        cpu_seconds=time.process_time(),
                        intents=account.intents,
                        first=account.first,
                    )
                line.send(seen)
        except EOFError:
            pass


def _beyond(content: bytes, people: list[Any]) -> int | None:
    """Return the status of a request that exceeds SendGrid's limits."""
    if len(content) > _MOST_BYTES:
        return 413
    for person in people:
        size = sum(len(name) + len(text.encode()) for name, text in person["substitutions"].items())
        if size > _MOST_SUBSTITUTION_BYTES:
            return 400
    return None if 0 < len(people) <= _MOST_PEOPLE else 400


def _begun(ledger: Path, people: list[Any]) -> int:
    tokens = [person["custom_args"]["standfast_token"] for person in people]
    marks = ", ".join("?" * len(tokens))
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        (count,) = connection.execute(
            f"SELECT count(*) FROM effect WHERE state = 'submitting' AND token IN ({marks})",
            tokens,
        ).fetchone()
    finally:
        connection.close()
    return int(count)
