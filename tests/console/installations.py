"""An installation with triggers, and `serve` without its loop."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook

from standfast.console.application import App
from standfast.console.http_server import HttpServer
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.triggers.message_intake import triggers_of, trusted_proxies
from tests.servers import wait_until
from tests.usecases.installations import furnish

SECRET = "whsec_" + base64.b64encode(b"the first secret of the siem").decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"the second secret of the siem").decode()
TOKEN = "a-token-of-alertmanager-that-is-long"

SIEM = """
[triggers.siem]
kind = "webhook"
secrets = ["env:SIEM_SECRET", "env:SIEM_NEXT"]
scenario = "lock"
mode = "live"
inputs = { accounts = "agents:{/data/user}", reason = "{/data/rule}" }
per_minute = 6000
"""
ALERTS = """
[triggers.alerts]
kind = "alertmanager"
tokens = ["env:ALERT_TOKEN"]
scenario = "lock"
inputs = { accounts = "agents:{/alerts/*/labels/account}" }
per_minute = 6000
"""
ENV = {
    "SCIM_TOKEN": "unused",
    "SIEM_SECRET": SECRET,
    "SIEM_NEXT": NEXT_SECRET,
    "ALERT_TOKEN": TOKEN,
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """An installation with a running HTTP server."""

    installation: Installation
    app: App
    server: HttpServer
    url: str
    port: int

    def post(self, name: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        return httpx.post(
            f"{self.url}/triggers/{name}",
            content=body,
            headers=dict(headers),
            trust_env=False,
            timeout=30,
        )

    def send(
        self, payload: Any, message_id: str = "msg_1", secret: str = SECRET, name: str = "siem"
    ) -> httpx.Response:
        """Send a signed message, as the reference signs it."""
        body = json.dumps(payload)
        return self.post(name, body.encode(), signed(body, message_id, secret))

    def alert(self, group: Any, token: str = TOKEN) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return self.post("alerts", json.dumps(group).encode(), headers)

    @property
    def incidents(self) -> list[str]:
        return [one.id for one in self.installation.ledger.incidents.all()]


def signed(
    body: str, message_id: str = "msg_1", secret: str = SECRET, at: datetime | None = None
) -> dict[str, str]:
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, moment, body),
        "content-type": "application/json",
    }


def about(user: str = "agent01", rule: str = "impossible travel") -> dict[str, Any]:
    return {"data": {"user": user, "rule": rule}}


@contextmanager
def site_at(
    config_file: Path, env: Mapping[str, str] | None = None, *, port: int = 0
) -> Iterator[Site]:
    """Open the installation and serve its HTTP, on a free port by default."""
    with open_installation(config_file, env=env or ENV, actor="os:test") as installation:
        app = App(
            installation=installation,
            triggers=triggers_of(installation.config),
            trusted=trusted_proxies(installation.config),
        )
        server = HttpServer(app=app, host="127.0.0.1", port=port)
        server.begin()
        try:
            wait_until(server.is_listening.is_set, "HTTP is up")
            url = f"http://127.0.0.1:{server.port}"
            yield Site(installation=installation, app=app, server=server, url=url, port=server.port)
        finally:
            server.end()


def furnish_with(
    folder: Path, *parts: str, smtp_port: int = 9, ledger_url: str = "sqlite:///ledger.db"
) -> Path:
    """Write an installation with these triggers; return its file."""
    config_file = furnish(folder, smtp_port=smtp_port, ledger_url=ledger_url)
    with config_file.open("a") as file:
        file.write("".join(parts))
    return config_file
