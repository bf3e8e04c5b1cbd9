"""A real headless Chromium, driven over its DevTools protocol.

- `running_chromium`: one process with its own folder, and one tab. Devices with passkeys are
  Chromium's virtual authenticators.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.servers import START_SECONDS, installed, need, wait_until

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the sandbox needs a user other than root
    "--no-proxy-server",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
)


@dataclass(kw_only=True)
class Tab:
    """One page of the browser."""

    connection: Connection
    session: str = ""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.connection.send(json.dumps(message))
        while True:
            answer = json.loads(self.connection.recv(timeout=START_SECONDS))
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, url: str) -> None:
        """Open an address and wait until the page is complete."""
        self.ask("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)})")

    def run(self, script: str) -> Any:
        """Return the result of a script in the page."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, userGesture=True
        )
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until the page is complete and a script returns true."""
        whole = f"document.readyState === 'complete' && ({script})"
        wait_until(lambda: self.run(whole) is True, f"in the page: {script}")

    def device(self, **options: bool) -> str:
        """Add a virtual passkey device to the browser; return its id."""
        self.ask("WebAuthn.enable")
        known = {
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        answer = self.ask(
            "WebAuthn.addVirtualAuthenticator",
            options={"protocol": "ctap2", "transport": "internal", **known, **options},
        )
        return str(answer["authenticatorId"])


@contextmanager
def running_chromium() -> Iterator[Tab]:
    """Start the browser and yield a tab; end it and remove its folder."""
    need("chromium", "pages are looked at in a real browser")
    folder = Path(tempfile.mkdtemp(prefix="sf-chromium-"))
    where = folder / "DevToolsActivePort"
    command = [installed("chromium"), *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(
            lambda: process.poll() is not None or (where.is_file() and "/" in where.read_text()),
            "Chromium listens",
        )
        if process.poll() is not None:
            pytest.fail((folder / "log").read_text(), pytrace=False)
        port, path = where.read_text().split()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None) as connection:
            tab = Tab(connection=connection)
            target = tab.ask("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.ask("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
            yield tab
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
