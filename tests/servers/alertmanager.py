"""A real Alertmanager on loopback that sends to a webhook of the test."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from tests.servers import answers, find_program, free_port, need, wait_until

PROGRAM = "prometheus-alertmanager"

_SETTINGS = """
route:
  receiver: standfast
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1s
receivers:
  - name: standfast
    webhook_configs:
      - url: {url}
        send_resolved: true
        http_config:
          authorization:
            credentials_file: {token_file}
"""


@dataclass(frozen=True, kw_only=True)
class Alertmanager:
    """An Alertmanager that groups alerts by name and repeats them each second."""

    port: int

    def fire(self, name: str, *accounts: str) -> None:
        """Fire an alert for each account, until it is resolved."""
        self._post(name, accounts, datetime.now(UTC) + timedelta(hours=1))

    def resolve(self, name: str, *accounts: str) -> None:
        self._post(name, accounts, datetime.now(UTC) - timedelta(seconds=1))

    def _post(self, name: str, accounts: tuple[str, ...], ends_at: datetime) -> None:
        alerts = [
            {
                "labels": {"alertname": name, "account": account},
                "annotations": {"summary": f"{name} seen"},
                "startsAt": "2026-01-01T00:00:00Z",
                "endsAt": ends_at.isoformat(),
            }
            for account in accounts
        ]
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/api/v2/alerts",
            content=json.dumps(alerts),
            headers={"content-type": "application/json"},
            trust_env=False,
        )
        answer.raise_for_status()


@contextmanager
def running_alertmanager(folder: Path, url: str, token: str) -> Iterator[Alertmanager]:
    """Run Alertmanager, which posts to `url` with this token."""
    need(PROGRAM, "it sends the alerts of these tests; apt-get install prometheus-alertmanager")
    program = find_program(PROGRAM)
    assert program is not None
    token_file = folder / "token"
    token_file.write_text(token)
    settings = folder / "alertmanager.yml"
    settings.write_text(_SETTINGS.format(url=url, token_file=token_file))
    port = free_port()
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={settings}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",  # a single server without gossip
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(
                lambda: process.poll() is not None or answers(port), "Alertmanager accepts calls"
            )
            assert process.poll() is None, (folder / "alertmanager.log").read_text()
            yield Alertmanager(port=port)
        finally:
            process.terminate()
            process.wait(timeout=60)
