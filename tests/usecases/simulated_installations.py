"""One installation on two machines, as after a copy of a virtual machine.

The machines have one ledger in PostgreSQL, one vault, and `backup.writer` with its keys on both.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from standfast.usecases.core.installation import Installation
from tests import ledger_schema
from tests.usecases.backup_installation import NOW, furnish, installation_at

ALPHA, BETA = "alpha", "beta"


@contextmanager
def machine(name: str) -> Iterator[None]:
    """Act as the machine of that name in the block."""
    was = os.uname()
    now = os.uname_result((was[0], name, *was[2:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "uname", lambda: now)
        yield


@contextmanager
def at(folder: Path) -> Iterator[Installation]:
    """Open the installation of a machine in its folder."""
    with machine(folder.name), installation_at(folder / "standfast.toml") as installation:
        yield installation


def twins(folder: Path, url: str) -> tuple[Path, Path]:
    """Make an installation on `alpha`; copy it to `beta`, with new data."""
    one, other = folder / ALPHA, folder / BETA
    one.mkdir()
    share_ledger(furnish(one), url, one / "keys" / "ledger")
    (one / "recordings" / "half.tmp").unlink()  # no point contains this file
    with (one / "standfast.toml").open("a") as file:
        file.write(f'[backup]\nvault = "{one / "vault"}"\nkeys = "{one / "keys" / "store"}"\n')
    ledger_schema.create(url, one / "keys" / "ledger", one / "witness.jsonl", NOW)
    shutil.copytree(one, other, symlinks=True, ignore=shutil.ignore_patterns("vault", "witness*"))
    (other / "recordings" / "notes.txt").write_text("what only beta has\n")
    return one, other


def share_ledger(config_file: Path, url: str, keys: Path) -> None:
    """Move an installation's ledger to PostgreSQL."""
    for left in config_file.parent.glob("ledger.db*"):
        left.unlink()
    (config_file.parent / "witness.jsonl").unlink(missing_ok=True)
    with config_file.open("a") as file:
        file.write(f'\n[ledger]\nurl = "{url}"\nkeys = "{keys}"\n')
