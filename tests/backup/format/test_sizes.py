"""Size limits of the writer: each object remains small enough to read."""

from dataclasses import replace

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.errors import UsageError
from backup.format.object_names import MAX_SNAPSHOT_BYTES
from backup.format.snapshot import (
    MAX_UNREAD_BYTES,
    MAX_UNREAD_NAMED,
    Body,
    Snapshot,
    open_body,
    seal_body,
    snapshot_from_bytes,
    snapshot_to_bytes,
)
from backup.records import Unread
from tests.backup.format.test_vectors import FILES, identity, object_bytes

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.fixture
def valid() -> tuple[Snapshot, Body]:
    file = FILES["snapshot"]
    snapshot, sealed = snapshot_from_bytes(object_bytes(file, file["vectors"][0]), "it")
    return snapshot, open_body(sealed, [identity(file, "domain")], "it")


def test_unreadably_large_snapshot_is_not_written(valid: tuple[Snapshot, Body]) -> None:
    snapshot, _ = valid
    least = len(snapshot_to_bytes(snapshot, b"", KEY))
    fitting = snapshot_to_bytes(snapshot, bytes(MAX_SNAPSHOT_BYTES - least), KEY)
    assert len(fitting) == MAX_SNAPSHOT_BYTES
    with pytest.raises(UsageError, match="nightly"):
        snapshot_to_bytes(snapshot, bytes(MAX_SNAPSHOT_BYTES - least + 1), KEY)


@pytest.mark.parametrize("length", [1, 600, 5000])
def test_unread_paths_are_named_up_to_the_limit(valid: tuple[Snapshot, Body], length: int) -> None:
    domain = pyrage.x25519.Identity.generate()
    unread = tuple(Unread(path="é" * length, reason="is locked") for _ in range(12_000))
    body = replace(valid[1], unread=unread, unread_total=12_000)
    sealed = seal_body(body, str(domain.to_public()))
    again = open_body(sealed, [domain], "it")
    named = sum(len(one.path.encode()) + len(one.reason) for one in again.unread)
    assert again.unread_total == 12_000
    assert 0 < len(again.unread) <= MAX_UNREAD_NAMED
    assert named <= MAX_UNREAD_BYTES
    assert len(again.unread) == MAX_UNREAD_NAMED or named > MAX_UNREAD_BYTES - 2 * length - 100_000
    assert len(sealed) < 1.15 * MAX_UNREAD_BYTES
