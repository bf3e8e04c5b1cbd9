"""A faulty repository: the message and exit status of each command."""

import json
import shutil
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.format.signature import sign
from tests.cli.desk import Desk

COMMANDS = {
    "run": ("backup", "run"),
    "list": ("backup", "list"),
    "verify": ("backup", "verify"),
    "restore": ("backup", "restore", "latest", "--to", "out", "--identity", "IDENTITY"),
}


def typed(desk: Desk, installation: Path, command: str) -> tuple[str, ...]:
    # The identity is away from the copy of the key records, so the key store alone must suffice.
    identity = str(desk.folder / "apart/identity.txt")
    (desk.folder / "apart").mkdir(exist_ok=True)
    shutil.copy(installation / "offline/identity.txt", identity)
    return tuple(identity if word == "IDENTITY" else word for word in COMMANDS[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_newer_format_asks_for_a_newer_version(
    desk: Desk, installation: Path, command: str
) -> None:
    desk.run("backup", "run")
    owner = json.loads((installation / "offline/owner.json").read_text())["owner_key"]
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(owner))
    later = sign(b"standfast-backup-2 root", b'{"format":2,"kind":"root"}\n', key)
    (installation / "vault/pub/root/0000000001").write_bytes(later)
    answer = desk.run(*typed(desk, installation, command))
    assert answer.status == 2, answer
    assert f"the repository in {installation / 'vault'} continues in a later format" in answer.err
    assert "has format 2" in answer.err
    assert not (desk.folder / "out/source").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_foreign_claim_of_newer_format_stops_nothing(
    desk: Desk, installation: Path, command: str
) -> None:
    desk.run("backup", "run")
    key = Ed25519PrivateKey.generate()
    later = sign(b"standfast-backup-2 root", b'{"format":2,"kind":"root"}\n', key)
    (installation / "vault/pub/root/0000000001").write_bytes(later)
    answer = desk.run(*typed(desk, installation, command))
    assert answer.status == (6 if command == "verify" else 0), answer
    assert command != "verify" or "pub/root/0000000001" in answer.out


@pytest.mark.parametrize("command", COMMANDS)
def test_foreign_file_is_named_by_verify(desk: Desk, installation: Path, command: str) -> None:
    desk.run("backup", "run")
    (installation / "vault/holiday.jpg").write_bytes(b"no object of ours")
    (installation / "vault/w/host-1/notes.txt").write_bytes(b"nor this")
    answer = desk.run(*typed(desk, installation, command))
    assert answer.status == 0, answer
    if command == "verify":
        assert "holiday.jpg" in answer.out
        assert "w/host-1/notes.txt" in answer.out
        assert "Everything else agrees." in answer.out


def test_an_identity_of_somebody_else_opens_nothing(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    stranger = desk.folder / "stranger.txt"
    stranger.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    for words in (
        ("backup", "restore", "latest", "--to", "out"),
        ("backup", "ls", "latest"),
        ("drill", "run", "main"),
        ("backup", "verify", "--sample", "5"),
    ):
        answer = desk.run(*words, "--identity", stranger)
        assert answer.status == 2, (words, answer)
        assert "identity: it opens no domain of the repository" in answer.err, (words, answer)
    assert not (desk.folder / "out").exists()


def test_a_missing_identity_is_asked_for(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    without = desk.run("backup", "restore", "latest", "--to", "out")
    assert without.status == 2, without
    assert "--identity" in without.err
    absent = desk.run("backup", "restore", "latest", "--to", "out", "--identity", "absent.txt")
    assert absent.status == 2, absent
    assert "absent.txt" in absent.err
    assert not (desk.folder / "out").exists()


def test_lost_key_store_differs_from_wrong_key(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    words = typed(desk, installation, "restore")
    for record in (installation / "keys").rglob("0000000000"):
        if record.is_file():
            record.unlink()
    answer = desk.run(*words)
    assert answer.status == 2, answer
    assert "key store: it has no key of any domain" in answer.err
    assert desk.run("backup", "verify").status == 6


@pytest.mark.parametrize(
    "words",
    [
        ("backup", "restore", "latest", "--to", "out"),
        ("backup", "ls", "latest", "source"),
        ("backup", "find", "note*"),
        ("backup", "diff", "1", "2"),
        ("drill", "run", "main"),
    ],
    ids=" ".join,
)
def test_damaged_pack_key_is_no_wrong_identity(
    desk: Desk, installation: Path, words: tuple[str, ...]
) -> None:
    desk.run("backup", "run")
    (desk.folder / "source/new.txt").write_text("another note")
    desk.run("backup", "run")
    for pack in (installation / "vault/w/host-1/p").glob("*/*"):
        content = bytearray(pack.read_bytes())
        content[210] ^= 1
        pack.chmod(0o640)
        pack.write_bytes(content)
    answer = desk.run(*words, "--identity", installation / "offline/identity.txt")
    assert answer.status == 6, answer
    assert "does not open with its domain's key: it is damaged" in answer.out + answer.err
    assert "`backup verify`" in answer.out + answer.err


def test_unreadable_key_store_differs_from_wrong_key(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    records = installation / "keys/store/k/main/0000000000"
    ours = records.with_name("ours")
    records.rename(ours)
    records.symlink_to(records)  # a loop of links, which root cannot read either
    answer = desk.run(*typed(desk, installation, "restore"))
    assert answer.status == 1, answer
    assert "Check that the store is reachable" in answer.err
    records.unlink()
    ours.rename(records)
    assert desk.run(*typed(desk, installation, "restore")).status == 0


def test_foreign_identity_is_considered_without_a_host(desk: Desk, installation: Path) -> None:
    """A second site may have an identity of `init` that opens nothing here."""
    desk.run("backup", "run")
    shutil.rmtree(installation / "keys/backup-host")
    identity = installation / "offline/identity.txt"
    lines = identity.read_text().splitlines()
    lines[2] = "# owner: " + "00" * 32
    identity.write_text("\n".join(lines))
    answer = desk.run(*typed(desk, installation, "restore"))
    assert answer.status == 6, answer
    assert "the identity if there is one" in answer.err
