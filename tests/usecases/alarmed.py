"""Installation with alarms by real mail, and a movable clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from standfast.usecases.core.installation import Installation
from standfast.usecases.health.status import look
from standfast.usecases.health.status_record import Status
from tests.servers.smtp import SmtpServer
from tests.usecases.backup_installation import NOW, SERVICE, furnish, installation_at
from tests.usecases.installations import enrol_people

MAIL = """
[senders.mail]
kind = "smtp"
host = "127.0.0.1"
port = {port}
security = "none"
sender_address = "backup@example.com"
"""
# No verification falls due on the days of these tests.
RARELY_VERIFIED = '[backup]\nverify_schedule = "0 6 1 1 *"\n'
DAY = timedelta(days=1)


@dataclass
class WatchedHost:
    """An installation, its mailbox and a clock that a test moves."""

    installation: Installation
    folder: Path
    smtp: SmtpServer
    now: list[datetime] = field(default_factory=lambda: [NOW])

    @property
    def mails(self) -> list[str]:
        return [f"{mail.recipients[0]}: {mail.message['Subject']}" for mail in self.smtp.delivered]

    @property
    def newest_text(self) -> str:
        body = self.smtp.delivered[-1].message.get_body(("plain",))
        assert body is not None
        return str(body.get_content())

    def forward(self, **much: float) -> None:
        self.now[0] += timedelta(**much)

    def status(self) -> Status:
        return look(self.folder / "standfast.toml", {}, self.now[0])


@contextmanager
def watched_host(folder: Path, smtp: SmtpServer, more: str = "") -> Iterator[WatchedHost]:
    """Open a new installation with two people to notify."""
    now = [NOW]
    service = SERVICE.replace("rpo_minutes = 1560", "rpo_minutes = 1440")
    config_file = furnish(folder, service + MAIL.format(port=smtp.port) + RARELY_VERIFIED + more)
    with installation_at(config_file, clock=lambda: now[0]) as installation:
        enrol_people(installation, "dana", "lee")
        yield WatchedHost(installation=installation, folder=folder, smtp=smtp, now=now)


def both(subject: str) -> list[str]:
    return [f"{name}@example.com: {subject}" for name in ("dana", "lee")]
