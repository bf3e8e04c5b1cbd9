"""A small installation with backups: recordings, a CRM, keys, a vault."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup.errors import StoreUnavailable
from backup.ownership.repository_creation import create_repository
from backup.stores.directory import DirectoryStore
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation
from tests import ledger_schema

# The last 3 a.m. before now: some tests run at this time, others at the present time.
NOW = (datetime.now(UTC) - timedelta(hours=3)).replace(hour=3, minute=0, second=0, microsecond=0)
LAST_CHANGE = NOW - timedelta(hours=1, minutes=30)

SETTINGS = """
[organisation]
name = "Example Contact Centres"
contact_line = "020 7946 0000, the number on your card"

[backup.sets.main]
schedule = "30 2 * * *"

[[backup.sets.main.sources]]
kind = "files"
name = "recordings"
path = "recordings"
exclude = ["*.tmp"]

[[backup.sets.main.sources]]
kind = "sqlite"
name = "crm"
path = "crm.db"

[backup.sets.other]

[[backup.sets.other.sources]]
kind = "files"
name = "scripts"
path = "scripts"
"""

SERVICE = """
[services.crm]
owner = "Head of operations"
rto_minutes = 60
rpo_minutes = 1560
sets = ["main"]

[[services.crm.checks]]
kind = "sqlite"
path = "crm/crm.db"
minimum_rows = { customers = 10 }
last_change = "SELECT max(changed_at) FROM customers"
"""


def furnish(folder: Path, more: str = SERVICE, writer: str = "host-1") -> Path:
    """Write an installation into `folder`; return its configuration."""
    recordings = folder / "recordings"
    (recordings / "2026").mkdir(parents=True)
    (recordings / "2026" / "call-1.wav").write_bytes(os.urandom(300_000))
    (recordings / "2026" / "call-2.wav").write_bytes(b"quiet" * 20_000)
    (recordings / "notes.txt").write_text("the customer rang twice\n")
    (recordings / "notes.txt").chmod(0o640)
    (recordings / "half.tmp").write_text("left out")
    os.utime(recordings / "notes.txt", ns=(1_700_000_000_123_456_789,) * 2)
    (recordings / "latest").symlink_to("2026/call-2.wav")
    (recordings / "again.wav").hardlink_to(recordings / "2026" / "call-1.wav")
    (folder / "scripts").mkdir()
    (folder / "scripts" / "greeting.txt").write_text("Good morning\n")
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name, changed_at)")
        crm.executemany(
            "INSERT INTO customers VALUES (?, ?, ?)",
            ((n, f"Customer {n}", LAST_CHANGE.isoformat()) for n in range(1, 21)),
        )
    config_file = folder / "standfast.toml"
    own = "" if writer == "host-1" else f'[backup]\nwriter = "{writer}"\n'
    config_file.write_text(SETTINGS + own + more)
    create_repository(
        vault=DirectoryStore(folder / "vault"),
        keys=DirectoryStore(folder / "keys" / "store"),
        writer=writer,
        domain="main",
        host_dir=folder / "keys" / "backup-host",
        owner_file=folder / "offline" / "owner.key",
        identity_file=identity(folder),
        now=NOW,
    )
    ledger_schema.create(
        f"sqlite:///{folder}/ledger.db", folder / "keys" / "ledger", folder / "witness.jsonl", NOW
    )
    return config_file


def identity(folder: Path) -> Path:
    """Return the path of the custodian's identity."""
    return folder / "offline" / "custodian.txt"


def change(folder: Path) -> None:
    """Change the files of a call centre between two backups."""
    (folder / "recordings" / "2026" / "call-3.wav").write_bytes(os.urandom(200_000))
    (folder / "recordings" / "notes.txt").write_text("the customer rang three times\n")
    (folder / "recordings" / "2026" / "call-2.wav").unlink()
    with closing(sqlite3.connect(folder / "crm.db")) as crm, crm:
        crm.execute("UPDATE customers SET name = 'Renamed' WHERE id = 7")
        crm.execute("DELETE FROM customers WHERE id = 20")


@contextmanager
def installation_at(
    config_file: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Installation]:
    """Open the installation with an empty environment."""
    with open_installation(config_file, env={}, actor="os:test", clock=clock) as installation:
        yield installation


@contextmanager
def full_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mount a tiny file system on `folder`; yield False if that is refused."""
    folder.mkdir(exist_ok=True)
    mounted = os.system(f"mount -t tmpfs -o size={size} tmpfs '{folder}' 2>/dev/null") == 0
    try:
        yield mounted
    finally:
        if mounted:
            os.system(f"umount -l '{folder}'")


def packs(folder: Path) -> set[Path]:
    """Return the packs in the vault."""
    return {path for path in (folder / "vault/w/host-1/p").rglob("*") if path.is_file()}


def damage_a_pack(folder: Path) -> Path:
    """Flip one bit in the middle of the largest pack."""
    pack = max(packs(folder), key=lambda path: path.stat().st_size)
    flip_a_bit(pack)
    return pack


def flip_a_bit(pack: Path) -> None:
    """Flip one bit in the middle of a pack; a second call repairs it."""
    pack.chmod(0o600)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)


class AwayStore(DirectoryStore):
    """A folder store that does not answer the first few calls."""

    refusals = 0

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if AwayStore.refusals:
            AwayStore.refusals -= 1
            raise StoreUnavailable("the store does not answer; try again")
        super()._put(name, data)
