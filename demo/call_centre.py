"""Data of a contact centre: recordings, customers, logs, staff list.

`build` creates the state of the first evening, `next_day` changes it by a day of work.

Rules
- All data can be used: WAV files can be played, the database can be queried, and the logs have
  traces of the breach.
- The files include, on purpose, cases that break naive backups: links, hard links, odd names,
  modes, old times, a rename, a deletion, an empty file.
- The same seed creates the same centre; only the times depend on the clock.
"""

import os
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from demo.call_recordings import Voice, record, voice
from demo.fictional_people import Agent, Customer, agents, customers

Progress = Callable[[int, int], None]  # recordings made, total

_SHORTEST_CALL_SECONDS = 45
_VOICES = 6
_CONTACTS_A_CUSTOMER = 3
_NOTES = (
    "asked for the date of the next bill",
    "moved house, new address taken down",
    "complained about a call that was cut off",
    "wants to be called back on Monday",
    "cancelled, then stayed",
)
_STRANGE_PLACES = ("198.51.100.23", "203.0.113.77", "198.51.100.140")  # RFC 5737


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The size of the centre and of its breach."""

    calls: int = 150
    call_seconds: int = 125  # on average
    customers: int = 2000
    agents: int = 40
    taken_over: int = 25
    innocent: int = 5
    seed: int = 7


@dataclass(frozen=True, kw_only=True)
class CallCentre:
    """The folders and the people of one centre."""

    folder: Path
    scale: Scale
    agents: tuple[Agent, ...]
    customers: tuple[Customer, ...]

    @property
    def recordings(self) -> Path:
        return self.folder / "recordings"

    @property
    def database(self) -> Path:
        return self.folder / "crm" / "crm.db"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def staff_list(self) -> Path:
        return self.folder / "staff.csv"

    def calls(self) -> list[Path]:
        """Return the recordings of calls, oldest first, each once."""
        days = [day for day in self.recordings.iterdir() if day.is_dir() and not day.is_symlink()]
        return sorted(path for day in days for path in day.glob("call-*.wav"))

    @property
    def taken_over(self) -> tuple[str, ...]:
        """The accounts that an intruder seems to use tonight."""
        return tuple(agent.account for agent in self.agents[: self.scale.taken_over])

    @property
    def innocent(self) -> tuple[str, ...]:
        """The suspected accounts that only their holders used."""
        return self.taken_over[: self.scale.innocent]


@dataclass(frozen=True, kw_only=True)
class Day:
    """The changes of a day of work."""

    recorded: int
    recorded_bytes: int
    renamed: str
    deleted: int
    customers_changed: int
    contacts: int


def build(folder: Path, scale: Scale, now: datetime, progress: Progress) -> CallCentre:
    """Create the state of the first evening; `folder` has no centre yet."""
    centre = CallCentre(
        folder=folder,
        scale=scale,
        agents=tuple(agents(scale.agents, scale.seed)),
        customers=tuple(customers(scale.customers, scale.seed)),
    )
    centre.recordings.mkdir(parents=True, exist_ok=True)
    centre.logs.mkdir()
    centre.database.parent.mkdir()
    yesterday = now - timedelta(days=1)
    _record_calls(centre, range(1, scale.calls + 1), yesterday, progress)
    _arrange(centre, yesterday)
    _fill_database(centre, now - timedelta(hours=2))
    _write_logs(centre, yesterday)
    _write_staff(centre)
    return centre


def next_day(centre: CallCentre, now: datetime, progress: Progress) -> Day:
    """Change the centre by a day of work, which ends a minute before `now`."""
    scale = centre.scale
    new = max(scale.calls // 10, 2)
    numbers = range(scale.calls + 1, scale.calls + new + 1)
    recorded_bytes = _record_calls(centre, numbers, now, progress)
    first, second = centre.calls()[:2]
    renamed = first.with_name(first.stem + "-complaint.wav")
    first.rename(renamed)
    second.unlink()
    changed, contacts = _work_on_database(centre, now)
    _write_break_in(centre, now)
    return Day(
        recorded=new,
        recorded_bytes=recorded_bytes,
        renamed=renamed.name,
        deleted=1,
        customers_changed=changed,
        contacts=contacts,
    )


# recordings


def _record_calls(
    centre: CallCentre, numbers: Sequence[int], day: datetime, progress: Progress
) -> int:
    """Record the calls of one day; return their size in bytes."""
    voices: list[Voice] = [voice(centre.scale.seed * 100 + place) for place in range(2 * _VOICES)]
    folder = centre.recordings / f"{day:%Y-%m-%d}"
    folder.mkdir(exist_ok=True)
    start = day - timedelta(hours=9)
    size = 0
    for done, number in enumerate(numbers, 1):
        dice = random.Random(f"{centre.scale.seed} call {number}")
        longer = centre.scale.call_seconds - _SHORTEST_CALL_SECONDS
        seconds = _SHORTEST_CALL_SECONDS + int(dice.expovariate(1 / max(longer, 1)))
        path = folder / f"call-{number:05}-{centre.agents[number % len(centre.agents)].account}.wav"
        size += record(
            path,
            min(seconds, 4 * centre.scale.call_seconds),
            voices[number % _VOICES],
            voices[_VOICES + number * 7 % _VOICES],
            number,
        )
        path.chmod(0o640)
        ended = start + timedelta(hours=8) * (done / len(numbers))
        _set_time(path, ended, dice.randrange(10**9))
        progress(done, len(numbers))
    return size


def _arrange(centre: CallCentre, day: datetime) -> None:
    """Arrange files as people do: links, copies for training, odd names."""
    folder = centre.recordings / f"{day:%Y-%m-%d}"
    calls = sorted(folder.glob("call-*.wav"))
    training = centre.recordings / "for training"
    training.mkdir(mode=0o750)
    for number, call in enumerate(calls[2:5], 1):
        (training / f"good example {number}.wav").hardlink_to(call)
    (training / "Rückruf – größter Ärger.wav").write_bytes(calls[5].read_bytes())
    (training / "notes.txt").write_text("Listen to the second one first.\n")
    (training / "notes.txt").chmod(0o600)
    (training / "to sort").touch()
    (centre.recordings / "newest").symlink_to(folder.name)
    _set_time(training / "notes.txt", day - timedelta(days=40), 123_456_789)
    _set_time(training, day - timedelta(days=2), 987_654_321)


def _set_time(path: Path, moment: datetime, nanoseconds: int) -> None:
    when = int(moment.timestamp()) * 10**9 + nanoseconds
    os.utime(path, ns=(when, when))


# customers


def _fill_database(centre: CallCentre, day: datetime) -> None:
    dice = random.Random(centre.scale.seed + 2)
    with closing(sqlite3.connect(centre.database)) as crm, crm:
        crm.executescript(
            """
            PRAGMA journal_mode = WAL;
            CREATE TABLE customers (
                id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE,
                language TEXT NOT NULL, phone TEXT NOT NULL, changed_at TEXT NOT NULL
            );
            CREATE TABLE contacts (
                id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers (id),
                at TEXT NOT NULL, agent TEXT NOT NULL, channel TEXT NOT NULL, note TEXT NOT NULL
            );
            CREATE INDEX contacts_by_customer ON contacts (customer, at);
            """
        )
        crm.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    customer.number,
                    customer.name,
                    customer.address,
                    customer.language,
                    customer.phone,
                    _text(day),
                )
                for customer in centre.customers
            ),
        )
        crm.executemany(
            "INSERT INTO contacts (customer, at, agent, channel, note) VALUES (?, ?, ?, ?, ?)",
            (
                _contact(centre, dice, day - timedelta(minutes=dice.randrange(60 * 24 * 30)))
                for _ in range(_CONTACTS_A_CUSTOMER * len(centre.customers))
            ),
        )


def _work_on_database(centre: CallCentre, now: datetime) -> tuple[int, int]:
    dice = random.Random(centre.scale.seed + 3)
    changed = max(len(centre.customers) // 50, 1)
    contacts = max(len(centre.customers) // 6, 2)
    with closing(sqlite3.connect(centre.database)) as crm, crm:
        crm.executemany(
            "UPDATE customers SET phone = ?, changed_at = ? WHERE id = ?",
            (
                (f"+44 20 7946 {dice.randrange(1000):04}", _text(now), customer.number)
                for customer in dice.sample(centre.customers, changed)
            ),
        )
        crm.executemany(
            "INSERT INTO contacts (customer, at, agent, channel, note) VALUES (?, ?, ?, ?, ?)",
            (
                _contact(centre, dice, now - timedelta(minutes=1 + dice.randrange(8 * 60)))
                for _ in range(contacts - 1)
            ),
        )
        crm.execute(
            "INSERT INTO contacts (customer, at, agent, channel, note) VALUES (?, ?, ?, ?, ?)",
            _contact(centre, dice, now - timedelta(minutes=1)),
        )
    return changed, contacts


def _contact(
    centre: CallCentre, dice: random.Random, at: datetime
) -> tuple[int, str, str, str, str]:
    return (
        dice.choice(centre.customers).number,
        _text(at),
        dice.choice(centre.agents).account,
        dice.choice(("call", "call", "call", "mail", "chat")),
        dice.choice(_NOTES),
    )


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


# logs and staff


def _write_logs(centre: CallCentre, day: datetime) -> None:
    dice = random.Random(centre.scale.seed + 4)
    sign_ins, desktop = [], []
    for minute in range(0, 24 * 60, 2):
        at = _text(day - timedelta(minutes=24 * 60 - minute))
        account = dice.choice(centre.agents).account
        sign_ins.append(
            f"{at} sign-in account={account} from=10.0.{dice.randrange(4)}.{minute % 250} ok"
        )
        desktop.append(
            f"{at} agent-desktop account={account} opened=customer/{dice.randrange(1, 2000)}"
        )
    (centre.logs / "sign-ins.log").write_text("\n".join(sign_ins) + "\n")
    (centre.logs / "agent-desktop.log").write_text("\n".join(desktop) + "\n")
    (centre.logs / "telephony.log").write_text(
        "".join(
            f"{_text(day)} trunk {number % 4} call {number} ended normally\n"
            for number in range(900)
        )
    )


def _write_break_in(centre: CallCentre, now: datetime) -> None:
    """Write the traces of an intruder to the logs."""
    dice = random.Random(centre.scale.seed + 5)
    with (centre.logs / "sign-ins.log").open("a") as log:
        for place, account in enumerate(centre.taken_over):
            at = _text(now - timedelta(minutes=len(centre.taken_over) - place))
            log.write(f"{at} sign-in account={account} from={dice.choice(_STRANGE_PLACES)} ok\n")
    with (centre.logs / "agent-desktop.log").open("a") as log:
        for account in centre.taken_over:
            log.write(f"{_text(now)} agent-desktop account={account} export=customers rows=80\n")


def _write_staff(centre: CallCentre) -> None:
    rows = [f'{agent.address},"{agent.name}",{agent.language}' for agent in centre.agents]
    rows += [f'{name}@staff.example.com,"{name.title()}",en' for name in ("dana", "lee")]
    centre.staff_list.write_text("email,name,language\n" + "\n".join(rows) + "\n")
