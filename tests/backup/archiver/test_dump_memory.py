"""Memory limit of the backup of a dump that is larger than the limit."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.backup.site import Site, new_site

MIB = 1024 * 1024
FIRST, LAST = 100_000_000, 126_000_000  # lines of ten bytes
DUMP_BYTES = 10 * (LAST - FIRST + 1)
LARGEST_FILE_BYTES = 64 * MIB  # a pack has 16
MOST_MEMORY_BYTES = 160 * MIB
ROOT = Path(__file__).parents[3]

# The links in /proc/self/fd also show files that were created in a folder without a name.
CHILD = """
import json, os, resource, sys, threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from backup.trust.key_files import Host
from backup.sources import Source
from backup.sources.database_dumps import Dump, OpenDumps
from backup.sources.client_programs import Command
from backup.stores.directory import DirectoryStore
from backup.archiver.backup_run import back_up

folder, temporary, first, last, largest = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))

class Dumps(Source):
    kind = "dumps"
    @contextmanager
    def _open(self, scratch, now):
        # What a dump program is to us: a stream of unknown length.
        seq = Command(arguments=("/usr/bin/seq", first, last), environment={"TMPDIR": temporary})
        yield OpenDumps(self.name, now(), [Dump(file_name="calls.sql", command=seq)])
    def obstacles(self, scratch):
        return []

most, is_over = 0, threading.Event()
def sizes():
    for path in Path(temporary).rglob("*"):
        yield path.stat().st_size
    for number in os.listdir("/proc/self/fd"):
        link = f"/proc/self/fd/{number}"
        if os.readlink(link).startswith((temporary, "/memfd:")):
            yield os.stat(link).st_size
def watch():
    global most
    while not is_over.wait(0.005):
        try:
            most = max(most, sum(sizes()))
        except FileNotFoundError:
            pass  # it was closed just now
thread = threading.Thread(target=watch)
thread.start()
result = back_up(
    vault=DirectoryStore(Path(folder, "vault")), host=Host.load(Path(folder, "host")),
    set_name="nightly", sources=[Dumps("shop")], send_log=Path(folder, "state", "send.log"),
    now=lambda: datetime.now(UTC) + timedelta(hours=2),
)
is_over.set()
thread.join()
peak = next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)
print(json.dumps({
    "complete": result.complete, "read": result.bytes_read,
    "memory": int(peak.split()[1]) * 1024, "temporary": most,
}))
"""


def test_dump_larger_than_memory_uses_no_disk(tmp_path: Path) -> None:
    from backup.stores.directory import DirectoryStore

    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "site" / "vault"))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [
            sys.executable, "-c", CHILD, str(site.folder), str(temporary), str(FIRST), str(LAST),
            str(LARGEST_FILE_BYTES),
        ],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert (found["complete"], found["read"]) == (True, DUMP_BYTES)
    assert found["memory"] < MOST_MEMORY_BYTES < DUMP_BYTES / 1.5
    assert found["temporary"] < MIB
    assert content_of(site) == wanted()


def content_of(site: Site) -> tuple[int, str]:
    """Return the length and the hash of the dump that the repository restores."""
    repository = site.repository()
    size, digest = 0, hashlib.sha256()
    for piece in repository.stream(repository.resolve("latest"), "shop/calls.sql"):
        size += len(piece)
        digest.update(piece)
    return size, digest.hexdigest()


def wanted() -> tuple[int, str]:
    digest = hashlib.sha256()
    for first in range(FIRST, LAST + 1, 100_000):
        lines = range(first, min(first + 100_000, LAST + 1))
        digest.update("".join(f"{number}\n" for number in lines).encode())
    return DUMP_BYTES, digest.hexdigest()
