"""Repositories written in format 1 remain readable by both readers.

- The repository in `fixtures/format-1` was made once (see `fixtures/make.py`). If a change of the
  program makes one of these tests fail, the change is wrong.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import backup
from backup import break_glass
from backup.checker.verification import verify
from backup.errors import BackupError, NotFound, WrongKey
from backup.format.object_names import keep_name, root_name, snapshot_name
from backup.repository import Repository
from backup.stores.directory import DirectoryStore
from backup.trust.key_files import open_identity
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_slots import read_history
from tests.backup.fixtures.make import HERE as FROZEN
from tests.backup.fixtures.make import IDENTITY, SECOND_IDENTITY, expected

FACTS: dict[str, Any] = json.loads((FROZEN / "expected.json").read_text())
POINTS: dict[str, Any] = FACTS["points"]
VAULT, KEYS = DirectoryStore(FROZEN / "vault"), DirectoryStore(FROZEN / "keys")
VECTORS = Path(backup.__file__).parent / "vectors"
# The digest of all names, sizes and contents.
FROZEN_SHA256 = "ece495d57e60a01003b7783824863dd48eb7fec9690818df5485ed7ca8273f12"
DAMAGED = 6


def opened(identity: str = IDENTITY) -> Repository:
    return Repository.open(VAULT, KEYS, open_identity(FROZEN / identity))


def by_glass(*more: str, identity: str = IDENTITY) -> int:
    stores = [str(FROZEN / "vault"), str(FROZEN / "keys"), str(FROZEN / identity)]
    return break_glass.main([*stores, *more])


@pytest.mark.parametrize("point", sorted(POINTS))
def test_both_readers_restore_every_point(tmp_path: Path, point: str) -> None:
    repository = opened()
    restored = repository.restore(repository.resolve(point), tmp_path / "by-reader")
    assert restored.problems == ()
    assert expected(tmp_path / "by-reader" / "files") == POINTS[point]
    # The reader ends with DAMAGED only because of the junk next to the root records.
    assert by_glass(str(tmp_path / "by-glass"), point) == DAMAGED
    assert expected(tmp_path / "by-glass" / "files") == POINTS[point]


def test_break_glass_reports_only_the_junk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert by_glass(str(tmp_path / "out"), FACTS["latest"]) == DAMAGED
    told = capsys.readouterr().err.splitlines()
    named = [line.split()[1].rstrip(":") for line in told if line.startswith("DAMAGED")]
    assert named == [next(name for name in FACTS["junk"] if name.startswith("pub/root/"))]
    assert expected(tmp_path / "out" / "files") == POINTS[FACTS["latest"]]


def test_newest_point_is_of_the_new_epoch() -> None:
    assert FACTS["latest"] == "desk-1/0000000006"
    assert opened().resolve("latest", "nightly").name == FACTS["latest"]


def test_both_custodians_open_their_domains(tmp_path: Path) -> None:
    repository = opened(SECOND_IDENTITY)
    point = repository.resolve(FACTS["latest"])
    assert repository.restore(point, tmp_path / "out").problems == ()
    assert expected(tmp_path / "out" / "files") == POINTS[FACTS["latest"]]


def test_point_beyond_trusted_sequence_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        opened().resolve(FACTS["forged"])
    assert by_glass(str(tmp_path / "out"), FACTS["forged"]) == DAMAGED
    assert not (tmp_path / "out").exists()


def test_an_erased_domain_opens_for_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = opened()
    point = repository.resolve(FACTS["erased"])
    with pytest.raises(WrongKey):
        repository.restore(point, tmp_path / "by-reader")
    by_glass(str(tmp_path / "by-glass"), FACTS["erased"])
    assert "was erased" in capsys.readouterr().err
    assert not (tmp_path / "by-glass").exists()


def test_expired_point_without_packs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = opened()
    with pytest.raises(BackupError, match="is missing"):
        repository.restore(repository.resolve(FACTS["gone"]), tmp_path / "by-reader")
    assert by_glass(str(tmp_path / "by-glass"), FACTS["gone"]) == DAMAGED
    told = capsys.readouterr().err
    assert any(pack in told for _, pack in FACTS["dropped"])
    assert not any(path.is_file() for path in (tmp_path / "by-glass").rglob("*"))


def test_interim_point_has_part_of_its_run(tmp_path: Path) -> None:
    repository = opened()
    point = repository.resolve(FACTS["interim"])
    assert point.is_interim
    assert repository.restore(point, tmp_path / "by-reader").problems == ()
    assert by_glass(str(tmp_path / "by-glass"), FACTS["interim"]) == DAMAGED
    whole = POINTS["desk-2/0000000003"]
    for out in ("by-reader", "by-glass"):
        assert expected(tmp_path / out / "files").items() <= whole.items()


def test_keep_records_are_unchanged() -> None:
    trust = load_root_chain(VAULT)
    keeps = load_retention_log(VAULT, trust)
    for name in ("expired", "marked", "dropped", "distrusted"):
        assert sorted(map(list, getattr(keeps, name))) == FACTS[name], name
    assert sorted(name for name, _ in (*trust.problems, *keeps.problems)) == FACTS["junk"]
    old, new = trust.root.keepers
    assert old.trusted_sha256 == keeps.links[-2].sha256
    assert new.trusted_through is None


def test_skipped_numbers_epochs_and_generations_are_unchanged() -> None:
    trust = load_root_chain(VAULT)
    assert root_name(2) in FACTS["junk"]
    slots = {slot.sequence: slot for slot in read_history(VAULT, trust, "desk-1")}
    assert slots[3].snapshot is None
    after, again = slots[4].snapshot, slots[6].snapshot
    assert after is not None
    assert again is not None
    assert (after.skipped, after.epoch) == ((3,), 0)
    assert (again.skipped, again.epoch) == ((5,), 1)
    ended = trust.root.writer("desk-1", 0)
    assert ended is not None
    assert (ended.trusted_through, ended.trusted_sha256) == (4, slots[4].sha256)
    of_calls = [
        slot.snapshot.generation
        for slot in read_history(VAULT, trust, "desk-2")
        if slot.snapshot is not None
    ]
    assert of_calls == [0, 1, 1]


def test_verify_finds_the_junk_and_no_harm() -> None:
    report = verify(VAULT, keys=KEYS, identity=open_identity(FROZEN / IDENTITY), read=True)
    found = {
        severity: {one.object for one in report.findings if one.severity == severity}
        for severity in ("error", "warning")
    }
    # An object that a later record or snapshot skips is reported as a warning, not as an error.
    passed_over = {keep_name(2), snapshot_name("desk-1", 3), snapshot_name("desk-1", 5)}
    assert found["error"] == {root_name(2)} == {*FACTS["junk"]} - passed_over
    assert found["warning"] >= passed_over
    assert (report.points, report.saw) == (8, ("looking", "reading", "opening"))


def test_frozen_files_are_unchanged() -> None:
    frozen = {f"format-1/{path.relative_to(FROZEN).as_posix()}": path for path in files_in(FROZEN)}
    frozen |= {f"vectors/{path.name}": path for path in VECTORS.glob("*.json")}
    digest = hashlib.sha256()
    for name, path in sorted(frozen.items()):
        data = path.read_bytes()
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(data), data))
    assert digest.hexdigest() == FROZEN_SHA256, (
        "format 1 is frozen: what it wrote once, and the vectors that others tried their readers"
        " with, are never written anew; take back what changed in fixtures/format-1 or vectors"
    )


def files_in(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file()]
