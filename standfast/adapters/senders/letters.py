"""Sender for letters: files to print, unknown until a person posts them.

The sender writes one letter for each person without an e-mail address, with the address where a
window envelope shows it. `usecases` record the letters that people report as posted.

Rules
- A batch is one HTML file that loads nothing from outside, and a CSV list of its addresses for
  labels or a print shop. Both contain personal data: they are private files in a private folder.
- A written letter is not yet posted, and this program cannot detect when it is posted: the result
  is UNKNOWN until a person records another result. A letter is never written a second time
  automatically.
- Each letter begins on a new page and is in its reader's language. Its foot has a mark by which
  people refer to the letter: the first eight characters of its token.
"""

import csv
import hashlib
import html
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.sender_context import SenderContext
from standfast.config.sections.senders import LettersSenderConfig
from standfast.errors import Unavailable
from standfast.evidence.private_files import make_private, write_atomically
from standfast.local_time import day
from standfast.notices.html_body import language_attributes
from standfast.notices.localized_dates import long_date
from standfast.notices.plain_text import is_one_line
from standfast.records import EffectState, Limits, Result
from standfast.spreadsheet_csv import formula_safe

WRITTEN = "written as a letter. Report its posting with `standfast notice posted`."
MARK_LENGTH = 8
RETRY_SECONDS = 30.0
_MOST_LINES = 7  # the name and six address lines
_BODY = re.compile(r"<body\b[^>]*>(.*)</body>", re.DOTALL | re.IGNORECASE)
_LETTER = re.compile(rb'<section id="letter-([A-Za-z0-9_.-]+)"')
# Within margins of 20 mm: the window of DIN 5008 B, 20 mm from the left edge and 45 mm from the
# top, and its mirror image for French envelopes. A browser prints nothing in the margins.
_WINDOW_LEFT = {"left": "0mm", "right": "85mm"}
_SENDER = {"left": "right: 0", "right": "left: 5mm"}
_PAPER = {"a4": "A4", "letter": "letter"}

_STYLE = """
@page { size: PAPER; margin: 20mm 20mm 15mm; }
* { box-sizing: border-box; }
body { margin: 0; font: 10pt/1.27 "Liberation Sans", Arial, Helvetica, sans-serif; color: #000; }
.letter { break-before: page; padding-left: 5mm; position: relative; overflow-wrap: anywhere; }
.letter:first-child { break-before: auto; }
.head { height: 70mm; }
.window { position: absolute; top: 25mm; left: LEFT; width: 85mm; height: 45mm; padding-left: 5mm; }
.back { font-size: 7pt; margin: 0 0 4mm; }
.to { font-style: normal; line-height: 4.5mm; }
.from { position: absolute; top: 0; SIDE; width: 60mm; font-size: 9pt; line-height: 4.2mm; }
.date { margin: 3mm 0 0; }
h1 { font-size: 11pt; margin: 0 0 3mm; }
h2 { font-size: 10pt; margin: 3mm 0 1mm; break-after: avoid; }
p, ul { margin: 0 0 1.2mm; orphans: 2; widows: 2; }
ul { padding-left: 5mm; }
li { break-inside: avoid; }
.mark { margin-top: 4mm; font-size: 7pt; }
@media screen {
  body { background: #ddd; }
  .letter { background: #fff; width: 210mm; min-height: 297mm; margin: 8mm auto;
            padding: 20mm 20mm 15mm 25mm; }
  .window { top: 45mm; left: calc(LEFT + 20mm); }
  .from { top: 20mm; }
}
"""


class LettersSender(Sender):
    """Writer of letters into a folder; the constructor writes nothing."""

    def __init__(self, name: str, settings: LettersSenderConfig, context: SenderContext) -> None:
        self.name = name
        self.limits = Limits(batch=500, workers=1, timeout_seconds=60.0, is_local=True)
        self._settings = settings
        self._organisation = context.organisation
        self._clock = context.clock

    def why_no_address(self, address: str) -> str:
        """Return why a letter cannot reach an address; empty if it can.

        An address has at least two lines, and no blank line.
        """
        return letter_obstacle(address)

    def reach(self) -> None:
        """Raise Unavailable if the folder is not writable."""
        folder = self._settings.folder
        while not folder.exists():
            folder = folder.parent
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise Unavailable(
                f"folder {self._settings.folder}: letters cannot be written. Make the folder "
                "writable for this user."
            )

    def find(self, tokens: Sequence[str]) -> list[bool | None]:
        """Return None for each letter that was written: it may have been posted."""
        written: set[str] = set()
        for file in self._settings.folder.glob("*.html"):
            written |= {found.decode() for found in _LETTER.findall(file.read_bytes())}
        return [None if token in written else False for token in tokens]

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        today = day(self._clock(), self._organisation.time_zone)
        tokens = "\n".join(message.token for message in messages)
        name = f"{today.isoformat()}-{hashlib.sha256(tokens.encode()).hexdigest()[:12]}"
        letters = "".join(
            self._letter(message, long_date(today, message.language)) for message in messages
        )
        page = _page(self._style(), f"{self._organisation.name}, {name}", letters)
        try:
            _write(self._settings.folder / f"{name}.csv", _addresses(messages).encode())
            _write(self._settings.folder / f"{name}.html", page.encode())
        except OSError as error:
            reason = f"the letters cannot be written: {error.strerror}. Check the folder."
            return [
                Result(
                    target=message.address,
                    state=EffectState.FAILED,
                    reason=reason,
                    retry_after_seconds=RETRY_SECONDS,
                )
                for message in messages
            ]
        return [
            Result(
                target=message.address,
                state=EffectState.UNKNOWN,
                reason=WRITTEN,
                only_a_person_can_tell=True,
            )
            for message in messages
        ]

    def _letter(self, message: Message, date: str) -> str:
        sender_lines = (self._organisation.name, *self._settings.return_address)
        back = " · ".join(sender_lines)
        sender = "<br>".join(map(html.escape, sender_lines))
        to = "<br>".join(f"<bdi>{html.escape(line)}</bdi>" for line in message.address.split("\n"))
        body = _BODY.search(message.html)
        text = f'<p style="white-space:pre-line">{html.escape(message.text)}</p>'
        return f"""<section id="letter-{message.token}" class="letter"\
 {language_attributes(message.language)}>
<div class="head"><div class="window"><p class="back">{html.escape(back)}</p>
<address class="to">{to}</address></div>
<div class="from">{sender}<p class="date">{html.escape(date)}</p></div></div>
<h1>{html.escape(message.subject)}</h1>
{body[1].strip() if body else text}
<p class="mark">{mark_of(message.token)}</p>
</section>
"""

    def _style(self) -> str:
        return (
            _STYLE.replace("PAPER", _PAPER[self._settings.paper])
            .replace("LEFT", _WINDOW_LEFT[self._settings.window])
            .replace("SIDE", _SENDER[self._settings.window])
        )


def mark_of(token: str) -> str:
    """Return the mark at the foot of a letter, by which people refer to it."""
    return token[:MARK_LENGTH]


def letter_obstacle(address: str) -> str:
    """Return why a letter cannot reach an address; empty if it can."""
    lines = address.split("\n")
    if len(lines) < 2:
        return "the postal address is missing"
    if len(lines) > _MOST_LINES:
        return f"the postal address has more than {_MOST_LINES} lines"
    if not all(line.strip() and is_one_line(line) for line in lines):
        return "a line of the postal address is empty or has control characters"
    return ""


def _page(style: str, title: str, letters: str) -> str:
    return (
        '<!doctype html>\n<html><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n"
        f"<body>\n{letters}</body></html>\n"
    )


def _addresses(messages: Sequence[Message]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    lines = [f"line_{number}" for number in range(1, _MOST_LINES + 1)]
    writer.writerow(["mark", "language", *lines])
    for message in messages:
        to = message.address.split("\n")
        cells = [formula_safe(line) for line in (*to, *[""] * (_MOST_LINES - len(to)))]
        writer.writerow([mark_of(message.token), message.language, *cells])
    return stream.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 atomically, and its folder of mode 0700."""
    make_private(path.parent)
    path.parent.chmod(0o700)  # also if the folder already existed
    write_atomically(path, content)
