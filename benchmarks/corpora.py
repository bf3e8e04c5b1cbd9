"""Five corpora (sets of test files), and the next day's version of each.

The corpora are the same in every run.

- `recordings`: calls as a codec writes them, one folder a day; they do not compress. On the next
  day there is a folder of new calls, and the oldest folder is gone.
- `scans`: letters as a scanner writes them, one folder a day. They have the sizes for which a
  restore needs the most memory.
- `files`: small files of four kinds, as a help desk keeps them: mails, tickets, pages and notes. On
  the next day, one in a hundred is edited, one in a hundred is new, and one in two hundred is gone.
- `office`: a file share of an office. Sizes are log-normal (median 4 KB), 6 % of the files
  are exact copies of files in other folders and 6 % are edited copies. The next day, one file in a
  hundred is edited, in any folder, and one folder in a hundred has another name.
- `dump`: one SQL dump of customers and their contacts. The next day's dump has other values in one
  row of 1,600, and 1 % more rows at its end.

A corpus is a folder with `source/` (today), `next/` (files that differ tomorrow, at the same paths)
and `gone.txt` (paths that are deleted tomorrow). The change to the next day only renames files, so
a file that does not differ keeps its inode and its times.

The module runs as a program of its own, so that its memory does not count as that of a measured
program.
"""

import itertools
import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SEED = 1860
_FILES_A_DAY = 40
_FILES = 60_000
_FILES_A_FOLDER = 60
_DUMP_BYTES = 1 << 30
_ROWS_A_STATEMENT = 60
_ROWS_TO_ONE_CHANGED = 1600
_MEDIAN_BYTES = 4096
_SIZE_SIGMA = 1.17  # deviation of the logarithm of sizes; the mean is twice the median
_LARGEST_BYTES = 4 << 20
_WORDS = 12_000
_PROSE_BYTES = 32 << 20

NAMES = ("recordings", "scans", "files", "office", "dump")


@dataclass(frozen=True, kw_only=True)
class _Dense:
    """Files that do not compress, a folder a day."""

    name: str
    magic: bytes
    sizes: tuple[int, int]
    all_bytes: int


_CALLS = _Dense(
    name="call-{:06}.opus", magic=b"OggS", sizes=(64 * 1024, 4 * 1024 * 1024), all_bytes=1 << 30
)
_SCANS = _Dense(
    name="letter-{:06}.pdf", magic=b"%PDF", sizes=(16 * 1024, 576 * 1024), all_bytes=600 << 20
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus on the disk."""

    name: str
    folder: Path

    @property
    def source(self) -> Path:
        """The folder to back up."""
        return self.folder / "source"

    def turn_to_next_day(self) -> None:
        """Change to tomorrow's version; keep the replaced files."""
        for gone in self._gone():
            _move(self.source / gone, self.folder / "aside" / gone)
        for path in _files(self.folder / "next"):
            name = path.relative_to(self.folder / "next")
            if (self.source / name).exists():
                _move(self.source / name, self.folder / "aside" / name)
            _move(path, self.source / name)

    def turn_back(self) -> None:
        """Change back to today's version."""
        for line in (self.folder / "next.txt").read_text().splitlines():
            if not (self.folder / "next" / line).exists():
                _move(self.source / line, self.folder / "next" / line)
        for path in _files(self.folder / "aside"):
            _move(path, self.source / path.relative_to(self.folder / "aside"))
        for folder in sorted((p for p in self.source.rglob("*") if p.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _gone(self) -> list[str]:
        return (self.folder / "gone.txt").read_text().splitlines()


def make(name: str, folder: Path, scale: float) -> Corpus:
    """Create a corpus of this scale in its own process, unless it exists."""
    done = folder / "made.json"
    wanted = json.dumps({"name": name, "scale": scale})
    if not done.exists() or done.read_text() != wanted:
        command = [sys.executable, "-m", "benchmarks.corpora", name, str(folder), str(scale)]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
        done.write_text(wanted)
    corpus = Corpus(name=name, folder=folder)
    corpus.turn_back()  # an interrupted run may have left tomorrow's version
    return corpus


def main(name: str, folder: Path, scale: float) -> None:
    """Write a corpus."""
    for part in ("source", "next"):
        (folder / part).mkdir(parents=True)
    makers = {
        "recordings": _recordings,
        "scans": _scans,
        "files": _small_files,
        "office": _office,
        "dump": _dump,
    }
    gone = makers[name](folder, scale, random.Random(_SEED))
    (folder / "gone.txt").write_text("".join(f"{name}\n" for name in gone))
    names = [str(path.relative_to(folder / "next")) for path in _files(folder / "next")]
    (folder / "next.txt").write_text("".join(f"{name}\n" for name in names))


def _recordings(folder: Path, scale: float, chance: random.Random) -> list[str]:
    return _by_day(folder, _CALLS, scale, chance)


def _scans(folder: Path, scale: float, chance: random.Random) -> list[str]:
    return _by_day(folder, _SCANS, scale, chance)


def _by_day(folder: Path, kind: _Dense, scale: float, chance: random.Random) -> list[str]:
    size = int(kind.all_bytes * scale)
    today = _write_dense(folder / "source", kind, size, 0, chance)
    _write_dense(folder / "next", kind, size // 20, len(today), chance)
    return [name for name in today if name.startswith(_day(0))]


def _write_dense(
    folder: Path, kind: _Dense, size: int, number: int, chance: random.Random
) -> list[str]:
    names = []
    while size > 0:
        name = f"{_day(number)}/{kind.name.format(number)}"
        content = kind.magic + chance.randbytes(chance.randint(*kind.sizes))
        _write(folder / name, content)
        names.append(name)
        size -= len(content)
        number += 1
    return names


def _day(number: int) -> str:
    month, day = divmod(number // _FILES_A_DAY, 28)
    return f"2026-{1 + month:02}-{1 + day:02}"


def _small_files(folder: Path, scale: float, chance: random.Random) -> list[str]:
    prose = _Prose(chance)
    gone = []
    count = int(_FILES * scale)
    for number in range(count + count // 100):
        kind = ("mail", "ticket", "page", "note")[number % 4]
        name, text = _DOCUMENTS[kind](number, prose, chance)
        name = f"{kind}s/{number // 4 // _FILES_A_FOLDER:04}/{name}"
        if number >= count:
            _write(folder / "next" / name, text.encode())
            continue
        _write(folder / "source" / name, text.encode())
        if number % 100 == 50:
            _write(folder / "next" / name, (text + prose.passage(80, 400) + "\n").encode())
        elif number % 200 == 7:
            gone.append(name)
    return gone


def _mail(number: int, prose: "_Prose", chance: random.Random) -> tuple[str, str]:
    customer, agent = chance.randrange(20_000), chance.randrange(60)
    paragraphs = "\n\n".join(prose.passage(200, 900) for _ in range(chance.randint(1, 5)))
    return f"{number:06}.eml", (
        f"Return-Path: <customer{customer}@mail.example.net>\n"
        f"Received: from mx{chance.randint(1, 4)}.example.net (mx.example.net [192.0.2."
        f"{chance.randint(1, 250)}]) by desk.example.com with ESMTPS id {chance.randbytes(9).hex()}"
        f"; {_moment(number)} +0000\nMessage-ID: <{chance.randbytes(16).hex()}@mail.example.net>\n"
        f"From: Customer {customer} <customer{customer}@mail.example.net>\n"
        f"To: Agent {agent} <agent{agent}@desk.example.com>\nDate: {_moment(number)} +0000\n"
        f"Subject: {prose.passage(20, 60)}\nMIME-Version: 1.0\n"
        'Content-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n'
        f"X-Queue: {('billing', 'delivery', 'returns', 'technical')[number // 4 % 4]}\n\n"
        f"Hello,\n\n{paragraphs}\n\nKind regards\nCustomer {customer}\n"
    )


def _ticket(number: int, prose: "_Prose", chance: random.Random) -> tuple[str, str]:
    ticket = {
        "id": number,
        "customer": chance.randrange(20_000),
        "channel": chance.choice(["voice", "mail", "chat", "letter"]),
        "state": chance.choice(["open", "waiting", "solved"]),
        "created": _moment(number),
        "subject": prose.passage(20, 60),
        "messages": [
            {
                "author": chance.choice(["agent", "customer"]),
                "at": _moment(number + step),
                "token": chance.randbytes(12).hex(),
                "text": prose.passage(80, 600),
            }
            for step in range(chance.randint(1, 7))
        ],
    }
    return f"{number:06}.json", json.dumps(ticket, indent=1)


def _page(number: int, prose: "_Prose", chance: random.Random) -> tuple[str, str]:
    sections = "\n".join(
        f"<section><h2>{prose.passage(15, 50)}</h2>\n<p>{prose.passage(300, 1200)}</p></section>"
        for _ in range(chance.randint(1, 6))
    )
    return f"{number:06}.html", (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{prose.passage(15, 50)}</title></head>\n<body>\n{sections}\n"
        f"<footer>Revision {chance.randbytes(4).hex()}</footer></body></html>\n"
    )


def _note(number: int, prose: "_Prose", chance: random.Random) -> tuple[str, str]:
    return f"{number:06}.txt", f"{_moment(number)}\n{prose.passage(60, 1500)}\n"


_DOCUMENTS = {"mail": _mail, "ticket": _ticket, "page": _page, "note": _note}


def _office(folder: Path, scale: float, chance: random.Random) -> list[str]:
    prose = _Prose(chance)
    gone = []
    originals: list[tuple[str, str]] = []  # name and text of files that are copied later
    for number in range(int(_FILES * scale)):
        group, position = divmod(number, _FILES_A_FOLDER)
        team = f"team-{group % 20:02}"
        name = f"document-{position:02}-{chance.randbytes(3).hex()}.txt"
        kind = chance.random() if originals else 1.0
        if kind < 0.12:
            name, text = chance.choice(originals)
            if kind < 0.06:
                name = f"copy-{position:02}-of-{name}"
            else:
                cut = chance.randrange(len(text))
                name = f"version-{position:02}-of-{name}"
                text = f"{text[:cut]}{prose.passage(20, 200)}{text[cut:]}"
        else:
            size = min(
                _LARGEST_BYTES, int(chance.lognormvariate(math.log(_MEDIAN_BYTES), _SIZE_SIGMA))
            )
            text = prose.of_size(size)
            if chance.random() < 0.1:
                originals.append((name, text))
        path = f"{team}/project-{group:04}/{name}"
        _write(folder / "source" / path, text.encode())
        if group % 100 == 50:
            _write(folder / "next" / f"{team}/archive-{group:04}/{name}", text.encode())
            gone.append(path)
        elif chance.random() < 0.01:
            _write(folder / "next" / path, f"{text}{prose.passage(80, 400)}\n".encode())
    return gone


def _dump(folder: Path, scale: float, chance: random.Random) -> list[str]:
    rows = _rows(chance)
    changed = random.Random(_SEED + 1)
    today, tomorrow = (folder / part / "crm.sql" for part in ("source", "next"))
    size, count = int(_DUMP_BYTES * scale), 0
    with today.open("wb") as first, tomorrow.open("wb") as second:
        head = b"CREATE TABLE contacts (id int, customer int, at datetime, agent int, note text);\n"
        size -= first.write(head)
        second.write(head)
        while size > 0:
            statement = list(itertools.islice(rows, _ROWS_A_STATEMENT))
            size -= first.write(_statement(statement))
            for at in range(len(statement)):
                if changed.randrange(_ROWS_TO_ONE_CHANGED) == 0:
                    statement[at] = statement[at].replace("'", f"'{changed.randbytes(6).hex()} ", 1)
            second.write(_statement(statement))
            count += 1
        for _ in range(count // 100):
            second.write(_statement(list(itertools.islice(rows, _ROWS_A_STATEMENT))))
    return []


def _rows(chance: random.Random) -> Iterator[str]:
    prose = _Prose(chance)
    for number in itertools.count(1):
        yield (
            f"({number},{chance.randrange(200_000)},'{_moment(number)}',{chance.randrange(60)},"
            f"'{chance.randbytes(8).hex()} {prose.passage(40, 300)}')"
        )


def _statement(rows: list[str]) -> bytes:
    return f"INSERT INTO contacts VALUES {','.join(rows)};\n".encode()


class _Prose:
    """Random text that compresses like natural language.

    The words are made up, and few of them are frequent.
    """

    def __init__(self, chance: random.Random) -> None:
        letters = "eeeeeetttaaaooiinnsshhrrddlucmwfgypbvk"
        words = ["".join(chance.choices(letters, k=chance.randint(1, 11))) for _ in range(_WORDS)]
        weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(_WORDS)))
        parts, size = [], 0
        while size < _PROSE_BYTES:
            sentence = " ".join(chance.choices(words, cum_weights=weights, k=4000))
            parts.append(sentence)
            size += len(sentence)
        self._text = " ".join(parts)
        self._chance = chance

    def passage(self, least: int, most: int) -> str:
        """Return a random passage of the text, with a random number of characters."""
        start = self._chance.randrange(len(self._text) - most)
        return self._text[start : start + self._chance.randint(least, most)]

    def of_size(self, size: int) -> str:
        """Return text of a size, put together from passages of at most 16 KB."""
        parts = []
        while size > 0:
            parts.append(self.passage(1, min(size, 16_384)))
            size -= len(parts[-1])
        return "".join(parts)


def _moment(number: int) -> str:
    minutes, seconds = divmod(number * 37 % 86_400, 60)
    hours, minutes = divmod(minutes, 60)
    return f"2026-11-{1 + number // 2400 % 28:02} {hours:02}:{minutes:02}:{seconds:02}"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _move(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
