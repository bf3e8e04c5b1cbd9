"""A stateful imitation of SendGrid's Mail Send, over HTTP on loopback.

- Each request must match the description that Twilio publishes
  (`tests/adapters/senders/contracts/`) and the limits of its pages: 1,000 people a request, 10,000
  bytes of substitutions and of custom arguments for each, 30 MB.
- A request is accepted as a whole or refused. Accepted messages are written as SendGrid does: each
  substitution replaces its name everywhere, one after the other.
- Events are signed with the imitation's own key, as the Event Webhook signs them; the test delivers
  them.
- `running_sendgrid()` runs one on a free port.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.servers.over_http import Answering, listening

CONTRACT = Path(__file__).parent.parent / "adapters/senders/contracts/sendgrid.json"
KEY = "SG.made-up.key"
HOLD_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The message to one person, as SendGrid would write it."""

    token: str
    address: str
    subject: str
    text: str
    html: str
    headers: dict[str, str]
    request: int


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Answer to the next request, in place of a valid one."""

    status: int = 0  # 0: the connection drops; -1: it stays silent
    headers: tuple[tuple[str, str], ...] = ()
    takes_place: bool = False
    field: str | None = None


@dataclass(kw_only=True)
class SendGrid:
    """The account and its accepted messages; thread-safe."""

    # Whether requests are compared with the published description, which is slow for many.
    is_checked: bool = True
    keeps_texts: bool = True
    scopes: tuple[str, ...] = ("mail.send",)
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # requests that do not match the description
    unknown_people: set[str] = field(default_factory=set)
    put_off: set[str] = field(default_factory=set)
    names_whom: bool = True
    is_suspended: bool = False
    largest_bytes: int = 30_000_000
    guard: threading.RLock = field(default_factory=threading.RLock)
    let_go: threading.Event = field(default_factory=threading.Event)
    _signing_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    _events: int = 0

    def __post_init__(self) -> None:
        contract = json.loads(CONTRACT.read_text())
        self._described = contract["request"]["properties"].keys()
        self._validator = jsonschema.Draft202012Validator(
            {**contract["request"], "schemas": contract["schemas"]}
        )

    @property
    def event_key(self) -> str:
        """Return the public key as SendGrid's page shows it: base64 only."""
        public = self._signing_key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    # Acts of the account.

    def judge(self, content: bytes) -> tuple[int, dict[str, Any] | None, dict[str, str]]:
        """Answer one request to send."""
        if len(content) > self.largest_bytes:
            return 413, _error("content too large"), {}
        body = json.loads(content)
        if self.is_checked:
            self._validator.validate(body)
            assert body.keys() <= self._described, "a field that is not described"
        if self.is_suspended:
            return 403, _error("access forbidden"), {}
        for place, personal in enumerate(body["personalizations"]):
            where = f"personalizations.{place}"
            (to,) = personal["to"]
            if not to["email"].isascii() or to["email"] in self.unknown_people:
                named = f"{where}.to.0.email" if self.names_whom else None
                return 400, _error("Does not contain a valid address.", named), {}
            substitutions = personal.get("substitutions", {})
            size = sum(len((name + text).encode()) for name, text in substitutions.items())
            if size > 10_000:
                return 400, _error("too many bytes", f"{where}.substitutions"), {}
            if len(json.dumps(personal["custom_args"])) > 10_000:
                return 400, _error("too many bytes", f"{where}.custom_args"), {}
            if to["email"] in self.put_off:
                return 429, _error("too many requests"), self.wait_header(30)
        with self.guard:
            number = len(self.requests)
            self.requests.append(body if self.keeps_texts else {})
            self.taken += [self._written(body, one, number) for one in body["personalizations"]]
        return 202, None, {"X-Message-Id": f"made-up-{number}"}

    def wait_header(self, seconds: int) -> dict[str, str]:
        return {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + seconds)}

    def take_fault(self) -> Fault | None:
        with self.guard:
            return self.faults.pop(0) if self.faults else None

    def _written(self, body: dict[str, Any], personal: dict[str, Any], number: int) -> Taken:
        texts = [personal["subject"]]
        if self.keeps_texts:
            texts += [content["value"] for content in body["content"]]
            for name, value in personal.get("substitutions", {}).items():
                texts = [text.replace(name, value) for text in texts]
        subject, text, html = texts if self.keeps_texts else (*texts, "", "")
        return Taken(
            token=personal["custom_args"]["standfast_token"],
            address=personal["to"][0]["email"],
            subject=subject,
            text=text,
            html=html,
            headers=body["headers"],
            request=number,
        )

    # Events after the acceptance.

    def event(self, token: str, kind: str, at: int, **more: Any) -> dict[str, Any]:
        """Return one event about a mail; each has an id of its own."""
        with self.guard:
            self._events += 1
            number = self._events
            address = next((one.address for one in self.taken if one.token == token), "a@b.test")
        return {
            "email": address,
            "timestamp": at,
            "event": kind,
            "sg_event_id": f"event-{number}",
            "sg_message_id": "made-up-0.recvd-1",
            "standfast_token": token,
            **more,
        }

    def signed(
        self,
        events: Sequence[dict[str, Any]],
        at: int,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of one call of the Event Webhook."""
        body = json.dumps(list(events)).encode()
        return body, self.headers_of(body, at, key=key)

    def headers_of(
        self, body: bytes, at: int, *, key: ec.EllipticCurvePrivateKey | None = None
    ) -> dict[str, str]:
        """Sign any body of the Event Webhook; return its headers."""
        signature = (key or self._signing_key).sign(
            str(at).encode() + body, ec.ECDSA(hashes.SHA256())
        )
        return {
            "Content-Type": "application/json",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": str(at),
        }


def _error(message: str, where: str | None = None) -> dict[str, Any]:
    return {"errors": [{"message": message, "field": where, "help": None}]}


def _handler(account: SendGrid) -> type[Answering]:
    class Handler(Answering):
        def do_GET(self) -> None:
            is_known = self.headers.get("Authorization") == f"Bearer {KEY}"
            if not is_known:
                self._reply(401, _error("authorization required"), {})
            else:
                self._reply(200, {"scopes": list(account.scopes)}, {})

        def do_POST(self) -> None:
            content = self.body()
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                self._reply(401, _error("authorization required"), {})
                return
            fault = account.take_fault()
            try:
                assert self.path == "/v3/mail/send"
                if fault is None or fault.takes_place:
                    status, body, headers = account.judge(content)
            except (AssertionError, ValueError, KeyError, jsonschema.ValidationError) as error:
                account.broken.append(str(error))
                self._reply(400, _error("Bad Request"), {})
                return
            if fault is None:
                self._reply(status, body, headers)
            elif fault.status > 0:
                self._reply(fault.status, _error("a fault", fault.field), dict(fault.headers))
            else:
                if fault.status < 0:
                    account.let_go.wait(HOLD_SECONDS)
                self.close_connection = True

        def _reply(self, status: int, body: Any, headers: dict[str, str]) -> None:
            self.answer(status, b"" if body is None else json.dumps(body).encode(), headers)

    return Handler


@contextmanager
def running_sendgrid(account: SendGrid | None = None) -> Iterator[SendGrid]:
    """Run an account; fail after a request that the description lacks."""
    account = account or SendGrid()
    with listening(_handler(account)) as port:
        account.url = f"http://127.0.0.1:{port}"
        try:
            yield account
        finally:
            account.let_go.set()
    assert account.broken == []


@pytest.fixture
def sendgrid_server() -> Iterator[SendGrid]:
    """A new account without messages."""
    with running_sendgrid() as account:
        yield account
