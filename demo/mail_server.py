"""Mail of the centre: an SMTP server that writes one file a message.

    python -m demo.mail_server PORT FOLDER

Rules
- As in Maildir, a message is written to `tmp` and renamed to `new`, so a file in `new` is complete.
- A file begins with the envelope (the recipients), followed by the message as received.
- No message is delivered elsewhere.
"""

import asyncio
import sys
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import count
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

_ENVELOPE = "X-Envelope-To"


class Deliver:
    """The handler that aiosmtpd calls for each message."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("tmp", "new"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        existing = sum(1 for _ in (folder / "new").iterdir())
        self._numbers = count(existing + 1)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        name = f"{next(self._numbers):06}.eml"
        content: Any = envelope.original_content
        draft = self._folder / "tmp" / name
        head = "".join(f"{_ENVELOPE}: {address}\r\n" for address in envelope.rcpt_tos)
        draft.write_bytes(head.encode() + content)
        draft.rename(self._folder / "new" / name)
        return "250 2.0.0 delivered"


def delivered(folder: Path) -> list[tuple[str, Path]]:
    """Return (recipient, file) for every message, in order of arrival."""
    found = []
    for path in sorted((folder / "new").glob("*.eml")):
        with path.open("rb") as stream:
            for line in stream:
                name, _, value = line.partition(b": ")
                if name != _ENVELOPE.encode():
                    break
                found.append((value.strip().decode(), path))
    return found


def read(path: Path) -> EmailMessage:
    """Return one message of the mailbox."""
    return BytesParser(policy=policy.default).parsebytes(path.read_bytes())


async def serve(port: int, folder: Path) -> None:
    """Accept messages on loopback until the process is ended."""
    handler = Deliver(folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(handler, enable_SMTPUTF8=True), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
