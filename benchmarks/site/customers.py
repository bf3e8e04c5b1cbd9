"""Imitation of SendGrid that counts the messages of each person.

The imitation runs in its own process. When a request arrives, each of its messages must be recorded
in the ledger (the shared database) as begun. The recorded state is `submitting`, or `unknown` if
the process that sent the request was killed and another process noticed this before the request
was read. When asked, the imitation sends a signed event about each accepted message, as SendGrid
does.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import httpx

from benchmarks.imitations import ImitationConnection, running_imitation
from benchmarks.measure import expect

_SECONDS = 900  # time limit for the events of all messages, on a busy machine
_EVENTS_A_CALL = 1000
_MOST_REPEATS = 10
_ANSWERS_AFTER_SECONDS = 0.2  # as a distant provider: a kill interrupts requests in progress


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Counts of accepted messages."""

    people: Counter[str]  # accepted messages by address
    tokens: frozenset[str]
    unrecorded: int  # messages that the ledger did not have as begun when they arrived


class CustomerMail:
    """Client of the running imitation."""

    def __init__(self, url: str, event_key: str, line: ImitationConnection) -> None:
        self.url, self.event_key = url, event_key
        self._line = line

    def accepted(self) -> Accepted:
        """Return the counts of accepted messages."""
        found: Accepted = self._line.ask(("accepted", ""))
        return found

    def report_deliveries(self, url: str) -> None:
        """Send an event about each accepted message to the console at `url`."""
        statuses = self._line.ask(("report", f"{url}/events/sendgrid"))
        expect(set(statuses) <= {204}, f"the console accepts each event, not {statuses}")


@contextmanager
def running_customer_mail(ledger_url: str) -> Iterator[CustomerMail]:
    """Start the imitation on a free port; it ends with the block."""
    name = "the imitation of SendGrid"
    with running_imitation(name, _serve, ledger_url, seconds=_SECONDS) as (line, (url, event_key)):
        yield CustomerMail(url, event_key, line)


def _serve(ledger_url: str, line: Connection[Any, Any]) -> None:
    import psycopg

    from tests.servers.sendgrid import SendGrid, running_sendgrid

    class Counting(SendGrid):
        """An imitation of SendGrid that counts messages for each person."""

        def __post_init__(self) -> None:
            super().__post_init__()
            self.people: Counter[str] = Counter()
            self.tokens: set[str] = set()
            self.unrecorded = 0
            self.ledger = psycopg.connect(ledger_url.replace("+psycopg", ""), autocommit=True)

        def judge(self, content: bytes) -> Any:
            people = json.loads(content)["personalizations"]
            tokens = [person["custom_args"]["standfast_token"] for person in people]
            with self.guard:
                begun = self.ledger.execute(
                    "SELECT count(*) FROM effect WHERE state IN ('submitting', 'unknown')"
                    " AND token = ANY(%s)",
                    [tokens],
                ).fetchone()
                self.unrecorded += len(tokens) - (begun or (0,))[0]
                self.people.update(person["to"][0]["email"] for person in people)
                self.tokens.update(tokens)
            time.sleep(_ANSWERS_AFTER_SECONDS)
            return 202, None, {"X-Message-Id": "made-up"}

    account = Counting(is_checked=False, keeps_texts=False)
    with running_sendgrid(account):
        line.send((account.url, account.event_key))
        try:
            while True:
                request, url = line.recv()
                with account.guard:
                    found = Accepted(
                        people=account.people.copy(),
                        tokens=frozenset(account.tokens),
                        unrecorded=account.unrecorded,
                    )
                line.send(found if request == "accepted" else _report(account, found.tokens, url))
        except EOFError:
            pass


def _report(account: Any, tokens: frozenset[str], url: str) -> list[int]:
    statuses, now, every = list[int](), int(time.time()), sorted(tokens)
    with httpx.Client(trust_env=False, timeout=60) as client:
        for start in range(0, len(every), _EVENTS_A_CALL):
            page = every[start : start + _EVENTS_A_CALL]
            events = [account.event(token, "delivered", now) for token in page]
            body, headers = account.signed(events, now)
            for _ in range(_MOST_REPEATS):  # SendGrid repeats a request without a 2xx
                answer = client.post(url, content=body, headers=headers)
                if answer.is_success:
                    break
                time.sleep(1)
            statuses.append(answer.status_code)
    return statuses
