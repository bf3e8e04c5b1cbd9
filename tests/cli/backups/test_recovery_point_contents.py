"""`backup ls`, `find`, `diff`, and one file to standard output."""

import os
import random
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.desk import ENTRY, ROOT, Desk

HARD_BYTES = bytes(range(256)) + b"\r\n\0\xff" + random.Random(3).randbytes(2_000_000)


@pytest.fixture
def identity(installation: Path) -> Path:
    return installation / "offline/identity.txt"


@pytest.fixture
def two_points(desk: Desk, installation: Path) -> Path:
    source = desk.folder / "source"
    (source / "audio").mkdir()
    (source / "audio/call.wav").write_bytes(HARD_BYTES)
    desk.run("backup", "run", "main")
    (source / "note.txt").write_text("another note")
    (source / "audio/new.wav").write_bytes(b"new")
    desk.run("backup", "run", "main")
    return source


def pipe(installation: Path, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"STANDFAST_CONFIG": str(installation / "standfast.toml")},
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_folder_is_listed(desk: Desk, two_points: Path, identity: Path) -> None:
    words = ("backup", "ls", "latest", "source/audio", "--identity", identity)
    listed = desk.json(*words)["entries"]
    assert [(entry["path"], entry["size"]) for entry in listed] == [
        ("source/audio/call.wav", len(HARD_BYTES)),
        ("source/audio/new.wav", 3),
    ]
    assert "source/audio/call.wav" in desk.run(*words).out
    assert "source/" in desk.run("backup", "ls", "latest", "--identity", identity).out
    assert desk.run("backup", "ls", "latest", "absent", "--identity", identity).status == 2


def test_found_file_lists_its_recovery_points(desk: Desk, two_points: Path, identity: Path) -> None:
    words = ("backup", "find", "*.wav", "--identity", identity)
    found = {one["path"]: one["points"] for one in desk.json(*words, "--all-points")["found"]}
    assert found == {
        "source/audio/call.wav": ["host-1/0000000002", "host-1/0000000001"],
        "source/audio/new.wav": ["host-1/0000000002"],
    }
    assert desk.json(*words)["searched"] == ["host-1/0000000002"]
    answer = desk.run("backup", "find", "absent", "--identity", identity)
    assert (answer.status, "--all-points" in answer.out) == (0, True)


def test_search_in_unknown_set_is_refused(desk: Desk, two_points: Path, identity: Path) -> None:
    """Otherwise the answer would be that no backup contains the file."""
    words = ("--set", "mian", "--identity", identity)
    for looked in ("list", "find"):
        what = ("*.wav",) if looked == "find" else ()
        answer = desk.run("backup", looked, *what, *words)
        assert answer.status == 2
        assert "backup set 'mian'" in answer.err
    answer = desk.run("drill", "list", "--set", "mian")
    assert answer.status == 2
    assert "backup set 'mian'" in answer.err


def test_renamed_set_is_found_by_old_name(
    desk: Desk, two_points: Path, installation: Path, identity: Path
) -> None:
    config = installation / "standfast.toml"
    config.write_text(config.read_text().replace("[backup.sets.main]", "[backup.sets.files]"))
    words = ("backup", "find", "*.wav", "--set", "main", "--identity", identity)
    assert desk.json(*words)["searched"] == ["host-1/0000000002"]


def test_two_recovery_points_are_compared(desk: Desk, two_points: Path, identity: Path) -> None:
    words = ("backup", "diff", "1", "latest", "--identity", identity)
    changes = {one["path"]: one["change"] for one in desk.json(*words)["differences"]}
    assert changes == {
        "source/audio": "changed",
        "source/audio/new.wav": "added",
        "source/note.txt": "changed",
    }
    assert "1 added, 0 removed, 2 changed" in desk.run(*words).out
    assert desk.run("backup", "diff", "1", "7", "--identity", identity).status == 2


def test_pattern_without_match_is_not_unchanged(
    desk: Desk, two_points: Path, identity: Path
) -> None:
    words = ("backup", "diff", "1", "latest", "--identity", identity)
    typo = desk.run(*words, "source/audio/*", "source/adio")
    assert typo.status == 2
    assert "source/adio: in neither host-1/0000000001 nor host-1/0000000002" in typo.err
    same = desk.run(*words, "source/audio/call.wav")
    assert (same.status, "0 added, 0 removed, 0 changed" in same.out) == (0, True)


def test_file_on_standard_output_stands_alone(
    desk: Desk, two_points: Path, installation: Path, identity: Path
) -> None:
    words = ("backup", "restore", "1", "--to", "-", "--identity", identity)
    given = pipe(installation, *words, "source/audio/call.wav")
    assert (given.returncode, given.stdout, given.stderr) == (0, HARD_BYTES, b"")
    for wrong in (("source/absent",), ("source",), (), ("source/note.txt", "source/audio")):
        refused = desk.run(*words, *wrong)
        assert (refused.status, refused.out) == (2, "")
        assert refused.err
    refused = desk.run("--json", *words, "source/note.txt")
    assert refused.status == 2
    assert "--json both use" in refused.out


@pytest.mark.parametrize("path", ["source/note.txt", "source/audio/call.wav"])
@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        (">&-", 2, "standard output: it is closed"),
        (">/dev/full", 1, "No space left"),
        ("|true", 1, ""),
    ],
)
def test_failed_write_to_standard_output_is_reported(
    two_points: Path,
    installation: Path,
    identity: Path,
    path: str,
    where: str,
    status: int,
    says: str,
) -> None:
    words = ("backup", "restore", "latest", path, "--to", "-", "--identity", str(identity))
    command = shlex.join((sys.executable, "-c", ENTRY, *words))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {where}"],
        cwd=ROOT,
        env=os.environ
        | {"STANDFAST_CONFIG": str(installation / "standfast.toml"), "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert done.stderr.count("\n") == bool(says)
    assert says in done.stderr
    assert "unexpected" not in done.stderr


def test_damaged_content_does_not_go_to_standard_output(
    two_points: Path, installation: Path, identity: Path
) -> None:
    for pack in (installation / "vault/w").glob("*/p/*/*"):
        content = bytearray(pack.read_bytes())
        if len(content) > 100_000:
            content[5000] ^= 1
            pack.chmod(0o640)
            pack.write_bytes(content)
    words = ("backup", "restore", "1", "--to", "-", "--identity", identity)
    given = pipe(installation, *words, "source/audio/call.wav")
    assert given.returncode == 6
    assert HARD_BYTES.startswith(given.stdout)
    assert given.stderr
