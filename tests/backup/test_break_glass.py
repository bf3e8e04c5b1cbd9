"""The break-glass reader, written from FORMAT.md alone, on whole backups."""

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from backup import break_glass
from backup.stores.directory import DirectoryStore
from tests.backup.fixtures.make import IDENTITY, name_that_ends_a_page
from tests.backup.most_refs import most_refs
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise, owners, plain_tree, strange_tree

SCRIPT = Path(break_glass.__file__)
DONE, REFUSED, PARTIAL, DAMAGED = 0, 2, 3, 6


class Glass:
    """A repository in directories, and the tool that opens it."""

    def __init__(self, folder: Path) -> None:
        self.vault, self.keys = folder / "vault", folder / "keys"
        self.identity = folder / "site" / IDENTITY
        self.out = folder / "out"
        self.site = Site(
            folder=folder / "site",
            vault=DirectoryStore(self.vault),
            keys=DirectoryStore(self.keys),
        )

    def run(self, *more: str, identity: Path | None = None) -> int:
        stores = [str(self.vault), str(self.keys)]
        return break_glass.main([*stores, str(identity or self.identity), *more])

    def restore(self, *point: str, identity: Path | None = None) -> int:
        shutil.rmtree(self.out, ignore_errors=True)
        return self.run(str(self.out), *point, identity=identity)

    def objects(self, store: Path, below: str = "") -> dict[str, Path]:
        found = (path for path in (store / below).rglob("*") if path.is_file())
        return {path.relative_to(store).as_posix(): path for path in found}


@pytest.fixture(autouse=True)
def working_folder_is_restored() -> Any:
    before = Path.cwd()
    yield
    os.chdir(before)


@pytest.fixture
def glass(tmp_path: Path) -> Glass:
    glass = Glass(tmp_path)
    glass.site.create()
    return glass


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    replace(path, bytes(data))


def assert_nothing_is_wrong(out: Path, source: Path) -> None:
    """Assert that each written file equals its source."""
    for path in out.rglob("*"):
        if path.is_file() and not path.is_symlink():
            original = source / path.relative_to(out / "files")
            assert path.read_bytes() == original.read_bytes(), path


def test_reader_is_one_file_without_project_imports() -> None:
    text = SCRIPT.read_text()
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    allowed = {"blake3", "boto3", "botocore", "cryptography", "pyrage", "zstandard"}
    assert allowed <= imported
    assert imported - allowed <= sys.stdlib_module_names


def test_existing_target_is_the_stated_reason(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glass.site.back_up(plain_tree(tmp_path / "source"))
    glass.out.mkdir()
    assert glass.run(str(glass.out)) == REFUSED
    assert "TARGET: this path exists already" in capsys.readouterr().out
    assert not [*glass.out.iterdir()]


def test_both_readers_restore_the_source(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = strange_tree(tmp_path / "source")
    source.chmod(0o751)
    os.utime(source, ns=(1, 1_600_000_000_000_000_007))
    before = describe(source)
    glass.site.back_up(source)
    assert glass.restore() == DONE
    assert glass.site.restore("latest", tmp_path / "by-reader").problems == ()
    assert describe(glass.out / "files") == before
    assert describe(glass.out) == describe(tmp_path / "by-reader")
    for name in ("sparse", "all-hole"):
        original, restored = (source / name).stat(), (glass.out / "files" / name).stat()
        assert restored.st_size == original.st_size
        assert restored.st_blocks <= original.st_blocks
    printed = capsys.readouterr().out
    assert glass.site.host.owner.hex() in printed
    assert "14 of 14 files; no problems" in printed


def test_root_restores_owners_and_devices(glass: Glass, owned: Path, tmp_path: Path) -> None:
    before, belonging = describe(owned), owners(owned)
    glass.site.back_up(owned)
    assert glass.restore() == DONE
    assert describe(glass.out / "files") == before
    assert owners(glass.out / "files") == belonging
    by_reader = glass.site.restore("latest", tmp_path / "by-reader", owner=True)
    assert by_reader.problems == ()
    assert owners(tmp_path / "by-reader") == owners(glass.out)


def test_reader_runs_alone_in_a_folder(glass: Glass, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(SCRIPT, alone)
    command = [sys.executable, "-P", "break_glass.py", "../vault", "../keys", str(glass.identity)]
    listed = subprocess.run(command, cwd=alone, capture_output=True, text=True, check=False)
    assert (listed.returncode, listed.stderr) == (DONE, "")
    assert "desk-1/0000000001 " in listed.stdout
    restored = subprocess.run([*command, "out"], cwd=alone, capture_output=True, check=False)
    assert restored.returncode == DONE
    assert describe(alone / "out" / "files") == describe(source)
    assert subprocess.run(command[:3], cwd=alone, capture_output=True, check=False).returncode == 2


def test_paths_longer_than_the_limit_are_restored(
    glass: Glass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plain_tree(tmp_path / "source")
    here = os.open(source, os.O_RDONLY)
    for number in range(20):
        name = f"{number:0250}"
        os.mkdir(name, 0o750, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.link(source / "note.txt", "another-name", dst_dir_fd=below)
        os.symlink("nowhere", "link", dir_fd=below)
        os.utime(here, ns=(number, number))
        os.close(here)
        here = below
    os.close(here)
    glass.site.back_up(source)
    monkeypatch.chdir(tmp_path)
    stores = [glass.vault.name, glass.keys.name, str(glass.identity)]
    assert break_glass.main([*stores, "out"]) == DONE
    assert Path.cwd() == tmp_path
    assert glass.site.restore("latest", tmp_path / "by-reader").problems == ()
    assert walked(tmp_path / "out" / "files") == walked(source)
    assert walked(tmp_path / "by-reader" / "files") == walked(source)


def walked(top: Path) -> list[tuple[object, ...]]:
    """Walk a tree of any depth by open folders; return paths and attributes."""
    found: list[tuple[object, ...]] = []
    for _, folders, names, folder in os.fwalk(top):
        status = os.fstat(folder)
        found.append((sorted(folders), sorted(names), status.st_mode, status.st_mtime_ns))
        for name in sorted(names):
            one = os.stat(name, dir_fd=folder, follow_symlinks=False)
            found.append((one.st_mode, one.st_nlink, one.st_size, one.st_mtime_ns))
    return found


def test_frames_crossing_packs_are_restored(glass: Glass, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.wav").write_bytes(noise(3200 * KIB + number, number))
    glass.site.back_up(source)
    sizes = [path.stat().st_size for path in glass.objects(glass.vault).values()]
    assert 4096 + 255 * 65_536 in sizes
    assert glass.restore() == DONE
    assert describe(glass.out / "files") == describe(source)


def test_page_levels_and_reference_lists_are_restored(
    glass: Glass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most_refs(monkeypatch, 2)
    source = tmp_path / "source"
    source.mkdir()
    for folder in ("a", "b", "c"):
        (source / folder).mkdir()
        (source / name_that_ends_a_page(folder)).write_text(folder)
    (source / "big.db").write_bytes(noise(900 * KIB))
    os.link(source / "big.db", source / "same.db")
    glass.site.back_up(source)
    repository = glass.site.repository()
    point = repository.resolve("latest")
    assert repository.open_point(point)[1].depth >= 1
    assert len(next(repository.entries(point, ["files/big.db"])).lists) > 1
    assert glass.restore() == DONE
    assert describe(glass.out / "files") == describe(source)


def test_newest_point_is_the_default(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)
    earlier = describe(source)
    (source / "note.txt").write_text("changed")
    glass.site.back_up(source)
    assert glass.run() == DONE
    listed = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in listed[-2:]] == [
        "desk-1/0000000001",
        "desk-1/0000000002",
    ]
    assert glass.restore() == DONE
    assert describe(glass.out / "files") == describe(source)
    assert glass.restore("desk-1/0000000001") == DONE
    assert describe(glass.out / "files") == earlier
    assert glass.restore("desk-1/0000000003") == REFUSED
    assert not glass.out.exists()


def test_newest_of_several_sets_is_asked_for(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain_tree(tmp_path / "source")
    for name in ("nightly", "weekly", "nightly"):
        glass.site.back_up(source, set_name=name)
    assert glass.restore() == REFUSED
    assert not glass.out.exists()
    listed = [line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert listed[-2:] == ["desk-1/0000000003", "desk-1/0000000002"]
    assert glass.restore("desk-1/0000000002") == DONE


@pytest.mark.parametrize("wrong", ["swapped", "above", "another", "empty"])
def test_wrong_folder_is_not_called_damaged(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: str
) -> None:
    glass.site.back_up(plain_tree(tmp_path / "source"))
    other = Glass(tmp_path / "other")
    other.site.create()
    (tmp_path / "empty/k").mkdir(parents=True)
    vault, keys = {
        "swapped": (glass.keys, glass.vault),
        "above": (glass.vault, glass.keys.parent),
        "another": (glass.vault, other.keys),
        "empty": (glass.vault, tmp_path / "empty"),
    }[wrong]
    arguments = [str(vault), str(keys), str(glass.identity), str(glass.out)]
    assert break_glass.main(arguments) == REFUSED
    told = capsys.readouterr().err
    assert "REFUSED" in told
    assert "DAMAGED" not in told
    assert not glass.out.exists()


def test_readable_identity_is_warned_of(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glass.site.back_up(plain_tree(tmp_path / "source"))
    assert glass.run() == DONE
    assert "WARNING" not in capsys.readouterr().err
    glass.identity.chmod(0o644)
    assert glass.run() == DONE
    assert f"{glass.identity}: others can read it" in capsys.readouterr().err


def test_incomplete_point_is_restored_as_partial(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source, tmp_path / "not-there")
    assert glass.restore() == PARTIAL
    assert describe(glass.out / "files") == describe(source)
    assert "was not read when the point was made" in capsys.readouterr().err


def test_junk_named_by_later_point_is_no_damage(glass: Glass, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)
    (glass.vault / "w/desk-1/s/0000000002").write_bytes(b"junk")
    assert glass.run() == DAMAGED
    assert glass.site.back_up(source).point == "desk-1/0000000003"
    assert glass.run() == DONE
    assert glass.restore() == DONE


@pytest.mark.parametrize("kind", ["pub/root/", "w/desk-1/s/", "k/"])
def test_damaged_record_is_named_and_nothing_restored(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    glass.site.back_up(plain_tree(tmp_path / "source"))
    store = glass.keys if kind == "k/" else glass.vault
    ((name, path),) = glass.objects(store, kind).items()
    sound = path.read_bytes()
    for at in (0, 30, sound.index(b'"repository":"') + 14, len(sound) // 2, len(sound) - 1):
        flip(path, at)
        # A key record that names another repository may also be in a wrong folder.
        is_foreign = kind == "k/" and at == sound.index(b'"repository":"') + 14
        assert glass.restore() == (REFUSED if is_foreign else DAMAGED), at
        assert name in capsys.readouterr().err
        assert not glass.objects(glass.out)
        replace(path, sound)
    assert glass.restore() == DONE


def test_damaged_pack_is_named_without_wrong_content(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = strange_tree(tmp_path / "source")
    glass.site.back_up(source)
    packs = glass.objects(glass.vault, "w/desk-1/p")
    assert len(packs) == 2
    for name, path in packs.items():
        sound = path.read_bytes()
        # Each field of the header, its padding, and the first and last encrypted byte.
        for at in (0, 8, 11, 15, 16, 40, 70, 100, 130, 161, 200, 4000, 4096, 5000, -1):
            flip(path, at)
            assert glass.restore() == DAMAGED, at
            assert f"DAMAGED {name}" in capsys.readouterr().err, at
            assert_nothing_is_wrong(glass.out, source)
            replace(path, sound)
    assert glass.restore() == DONE


def test_damaged_segment_costs_only_its_content(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.wav").write_bytes(noise(700 * KIB, number))
    glass.site.back_up(source)
    name, path = max(
        glass.objects(glass.vault, "w/desk-1/p").items(), key=lambda pair: pair[1].stat().st_size
    )
    flip(path, 4096 + 3 * 65_536 + 17)
    assert glass.restore() == DAMAGED
    told = capsys.readouterr().err
    assert f"DAMAGED {name}: InvalidTag (affects segment 3)" in told
    assert "(affects files/0.wav)" in told
    restored = sorted(file.name for file in (glass.out / "files").iterdir())
    assert restored == [f"{number}.wav" for number in range(1, 6)]
    assert_nothing_is_wrong(glass.out, source)


def test_truncated_and_missing_objects_are_named(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)
    for store in (glass.vault, glass.keys):
        for name, path in glass.objects(store).items():
            if name.startswith(("pub/format/", "pub/reader/")):
                continue  # documents for people, which the reader does not read
            sound = path.read_bytes()
            for size in (0, 161, 4096, 4200, len(sound) - 16, len(sound) - 1):
                if size < len(sound):
                    replace(path, sound[:size])
                    assert glass.restore() == DAMAGED, (name, size)
                    assert f"DAMAGED {name}" in capsys.readouterr().err, (name, size)
                    assert_nothing_is_wrong(glass.out, source)
            path.unlink()
            # Only a point says which packs are missing; without a record, the folder may be the
            # wrong one.
            assert glass.restore() == (DAMAGED if "/p/" in name else REFUSED)
            assert_nothing_is_wrong(glass.out, source)
            path.write_bytes(sound)
            capsys.readouterr()


def test_packs_that_changed_places_are_named(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)
    (one, first), (other, second) = glass.objects(glass.vault, "w/desk-1/p").items()
    left, right = first.read_bytes(), second.read_bytes()
    replace(first, right)
    replace(second, left)
    assert glass.restore() == DAMAGED
    told = capsys.readouterr().err
    assert one in told or other in told
    assert not glass.objects(glass.out)


def test_wrong_identity_creates_nothing(
    glass: Glass, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    glass.site.back_up(plain_tree(tmp_path / "source"))
    other = tmp_path / "other.txt"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    assert glass.restore(identity=other) == REFUSED
    assert "does not open" in capsys.readouterr().err
    own = glass.identity.read_text()
    other.write_text(own.replace("# owner: ", "# owner: 00"))
    assert glass.restore(identity=other) == REFUSED
    assert "another repository" in capsys.readouterr().err
    other.write_text("nothing that is a key\n")
    assert glass.restore(identity=other) == REFUSED
    assert glass.restore(identity=tmp_path / "absent") == REFUSED
    assert not glass.out.exists()


def test_an_identity_under_a_passphrase_opens(
    glass: Glass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)

    # The key derivation of age is slow on purpose; the test replaces it by this one.
    def unlock(data: bytes, passphrase: str) -> bytes:
        if passphrase != "open sesame":
            raise pyrage.DecryptError("wrong passphrase")
        return data.removeprefix(b"age-encryption.org/v1\n")

    locked = tmp_path / "locked.age"
    locked.write_bytes(b"age-encryption.org/v1\n" + glass.identity.read_bytes())
    monkeypatch.setattr("pyrage.passphrase.decrypt", unlock)
    monkeypatch.setattr("getpass.getpass", lambda _: "open barley")
    assert glass.restore(identity=locked) == REFUSED
    monkeypatch.setattr("getpass.getpass", lambda _: "open sesame")
    assert glass.restore(identity=locked) == DONE


def test_an_ssh_key_serves_as_identity(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    file = tmp_path / "id_ed25519"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    sealed = pyrage.encrypt(b"domain", [pyrage.ssh.Recipient.from_str(public.decode())])
    tool = break_glass.BreakGlassReader(tmp_path, tmp_path, tmp_path)
    tool.root = {"owner": "00", "repository": "00"}
    tool.read_identities(file)
    assert pyrage.decrypt(sealed, tool.identities) == b"domain"


def test_existing_target_stays_unchanged(glass: Glass, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    glass.site.back_up(source)
    before = describe(source)
    assert glass.run(str(source)) == REFUSED
    assert describe(source) == before


def hostile(path: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"path": path, "kind": kind, "mode": 0o644, "modified": [0, 0]}
    fields |= {"uid": os.getuid(), "gid": os.getgid(), "size": 0, "blobs": [], "lists": []}
    return fields | more


@pytest.mark.parametrize(
    "path",
    ["../new", "/tmp/new", "s/../../new", "", ".", "s//a", "s/", "s/a%00b", "./a", "way/new",
     "way/deep/new", "s/%2E%2E/%2E%2E/new", "way"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
def test_a_path_never_leads_out_of_the_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, kind: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("untouched")
    before = describe(outside)
    top = tmp_path / "deep" / "out"
    top.mkdir(parents=True)
    tool = break_glass.BreakGlassReader(tmp_path, tmp_path, top)
    tool.restore_entry(hostile("way", "symlink", target=str(outside)), [])
    tool.attempt(path, tool.restore_entry, hostile(path, kind), [])
    tool.attempt("good", tool.restore_entry, hostile("t/good"), [])
    assert len(tool.problems) == 1
    assert ("DAMAGED" in capsys.readouterr().err) == (not path.startswith("way"))
    assert describe(outside) == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert {b"way", b"t", b"t/good"} <= describe(top).keys() <= {b"way", b"t", b"t/good", b"s"}


@pytest.mark.parametrize("first", ["../precious", "way/precious", "absent", "/etc/passwd", "way"])
def test_hard_link_leads_only_to_restored_files(tmp_path: Path, first: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    top = tmp_path / "out"
    top.mkdir()
    tool = break_glass.BreakGlassReader(tmp_path, tmp_path, top)
    tool.restore_entry(hostile("way", "symlink", target=str(tmp_path)), [])
    tool.restore_entry(hostile("x", hard_link=first), [])
    assert precious.stat().st_nlink == 1
    assert ((top / "x").read_bytes(), (top / "x").stat().st_nlink) == (b"", 1)


def test_set_id_bits_need_the_restored_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    tool = break_glass.BreakGlassReader(tmp_path, tmp_path, tmp_path)
    tool.restore_entry(hostile("x", mode=0o6755), [])
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o755
    tool.restore_entry(hostile("shared", "directory", mode=0o2775), [])
    tool.set_attributes(b"shared", tool.created_folders[b"shared"])
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o2775
