import errno
import fcntl
import json
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from standfast.adapters.evidence_sources import Custody, sealed_source
from standfast.adapters.evidence_sources.files import FilesEvidence
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.evidence import tree_copy
from standfast.evidence.custody import Act, read_custody, verify_custody
from standfast.evidence.item_file import ItemFolder, ItemWriter
from standfast.evidence.manifest import Item, Kind
from standfast.evidence.seal import read_sealed, verify_seal
from standfast.records import EffectState
from tests.adapters.evidence_sources.contract import CONTEXT, KEY, SealedContract, order
from tests.servers import refused_to_root
from tests.usecases.backup_installation import full_disk

PUBLIC = KEY.public_key()


def evidence_of(*paths: Path, exclude: tuple[str, ...] = ()) -> FilesEvidence:
    return FilesEvidence(
        "logs",
        FilesEvidenceConfig(kind="files", paths=paths, exclude=exclude),
        CONTEXT,
    )


def place_of(custody: Custody, token: str = "token-1") -> Path:
    return custody.folder / "logs" / token


def items_of(custody: Custody) -> dict[str, Item]:
    manifest = read_sealed(place_of(custody), PUBLIC)
    return {Path(item.path).name: item for item in manifest.items}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    logs = tmp_path / "var" / "log"
    (logs / "calls").mkdir(parents=True)
    (logs / "auth.log").write_bytes(b"alice signed in\n" * 100)
    (logs / "calls" / "monday.log").write_bytes(b"\x00" * 3_000_000 + b"end")
    (logs / "empty.log").touch()
    os.utime(logs / "auth.log", ns=(1_700_000_000_123_456_789, 1_600_000_000_987_654_321))
    return logs


class TestFilesEvidence(SealedContract):
    @pytest.fixture
    def source(self, origin: Path) -> FilesEvidence:
        return evidence_of(origin)


def test_every_byte_and_time_is_kept(origin: Path, custody: Custody) -> None:
    (origin / "nothing").mkdir()
    evidence_of(origin).collect(order(), custody)
    copies = place_of(custody) / "files" / str(origin).lstrip("/")
    assert (copies / "nothing").is_dir()
    for name in ("auth.log", "calls/monday.log", "empty.log"):
        assert (copies / name).read_bytes() == (origin / name).read_bytes()
    assert (copies / "auth.log").stat().st_mtime_ns == 1_600_000_000_987_654_321
    assert items_of(custody)["auth.log"].modified == "2020-09-13T12:26:40.987654Z"
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_reading_keeps_access_times(origin: Path, custody: Custody) -> None:
    before = (origin / "auth.log").stat().st_atime_ns
    evidence_of(origin).collect(order(), custody)
    assert (origin / "auth.log").stat().st_atime_ns == before
    assert items_of(custody)["auth.log"].accessed == "2023-11-14T22:13:20.123456Z"


def test_copies_are_for_their_owner_only(origin: Path, custody: Custody) -> None:
    evidence_of(origin).collect(order(), custody)
    for place, _, names in os.walk(place_of(custody)):
        assert stat.S_IMODE(Path(place).stat().st_mode) == 0o700
        for name in names:
            assert stat.S_IMODE((Path(place) / name).stat().st_mode) == 0o600


def test_undecodable_host_name_freezes_logs(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, release, version, machine = os.uname()
    called = os.uname_result(("Linux", "caf\udce9-1", release, version, machine))
    monkeypatch.setattr("os.uname", lambda: called)
    evidence_of(origin).collect(order(), custody)
    assert verify_seal(place_of(custody), PUBLIC) == []
    assert read_sealed(place_of(custody), PUBLIC).host == r"caf\xe9-1"


@pytest.mark.parametrize("where", ["copy", "manifest", "rename"])
def test_repeated_crash_ends_in_whole_evidence(
    where: str, origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        match where:
            case "copy":
                patched.setattr(ItemWriter, "write", crash)
            case "manifest":
                patched.setattr(sealed_source, "write_seal", crash)
            case "rename":
                patched.setattr(sealed_source, "append_custody", crash)
        # A killed process does not clean up.
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Crash):
            evidence_of(origin).collect(order(), custody)
    assert place_of(custody).with_name("token-1.partial").exists()
    assert not evidence_of(origin).find(order(), custody)
    assert evidence_of(origin).collect(order(), custody).state is EffectState.DONE
    assert verify_seal(place_of(custody), PUBLIC) == []
    assert [path.name for path in (custody.folder / "logs").iterdir()] == ["token-1"]


def test_a_second_collector_is_told_to_come_back(origin: Path, custody: Custody) -> None:
    partial = place_of(custody).with_name("token-1.partial")
    partial.mkdir(parents=True)
    (partial / "begun").touch()
    descriptor = os.open(partial, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        result = evidence_of(origin).collect(order(), custody)
        assert result.state is EffectState.FAILED
        assert result.retry_after_seconds
        assert (partial / "begun").exists()
    finally:
        os.close(descriptor)
    assert evidence_of(origin).collect(order(), custody).state is EffectState.DONE


@pytest.mark.parametrize("is_begun_anew", [False, True])
def test_second_collector_loses_nothing(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch, is_begun_anew: bool
) -> None:
    partial = place_of(custody).with_name("token-1.partial")
    real_lock = fcntl.flock

    def end_and_lock(descriptor: int, operation: int) -> None:
        partial.rename(place_of(custody))
        if is_begun_anew:
            partial.mkdir()
            (partial / "begun").touch()
        real_lock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", end_and_lock)
        result = evidence_of(origin).collect(order(), custody)
    assert result.state is EffectState.FAILED
    assert "another runner" in result.reason
    assert result.retry_after_seconds
    assert (partial / "begun").exists() is is_begun_anew


def test_missing_path_is_named_and_rest_frozen(origin: Path, custody: Custody) -> None:
    gone = (Path("/nowhere/at-all"), origin / "gone")
    result = evidence_of(*gone, origin / "auth.log").collect(order(), custody)
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 2)
    assert items_of(custody)["at-all"].reason.startswith("does not exist")
    assert items_of(custody)["gone"].reason.startswith("does not exist")
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_vanishing_file_is_named(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open, real_read = os.open, os.read
    broken: list[int] = []

    def open_some(path: str, flags: int, *rest: int, **where: int) -> int:
        if path == "auth.log":
            (origin / "auth.log").unlink(missing_ok=True)
        descriptor = real_open(path, flags, *rest, **where)
        if path == "empty.log":
            broken.append(descriptor)
        return descriptor

    def read_some(descriptor: int, size: int) -> bytes:
        if descriptor in broken:
            broken.remove(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real_read(descriptor, size)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_some)
        patched.setattr(os, "read", read_some)
        result = evidence_of(origin).collect(order(), custody)
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 2)
    items = items_of(custody)
    assert "vanished" in items["auth.log"].reason
    assert items["empty.log"].reason == os.strerror(errno.EIO)
    assert items["monday.log"].kind is Kind.FILE
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_growing_file_is_marked_and_whole(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_read = os.read
    size = (origin / "auth.log").stat().st_size

    def grow_and_read(descriptor: int, count: int) -> bytes:
        block = real_read(descriptor, count)
        if block.startswith(b"alice"):
            with (origin / "auth.log").open("ab") as log:
                log.write(b"more\n")
        return block

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", grow_and_read)
        result = evidence_of(origin).collect(order(), custody)
    assert result.facts["changed"] == 1
    item = items_of(custody)["auth.log"]
    assert item.is_changed
    assert item.size_bytes == size
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_rotated_file_is_copied_to_its_recorded_size(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_read, log = os.read, origin / "auth.log"
    content = log.read_bytes()

    def read_and_rotate(descriptor: int, count: int) -> bytes:
        block = real_read(descriptor, count)
        if block == content:
            with log.open("ab") as still_open:
                still_open.write(b"the last line before the rotation\n")
            log.rename(origin / "auth.log.1")
            log.write_bytes(b"the first line after the rotation\n")
        return block

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read_and_rotate)
        result = evidence_of(origin).collect(order(), custody)
    assert (result.facts["changed"], result.facts["unread"]) == (1, 0)
    item = items_of(custody)["auth.log"]
    assert (item.is_changed, item.size_bytes) == (True, len(content))
    (copy,) = place_of(custody).rglob("auth.log")
    assert copy.read_bytes() == content
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_reset_size_and_time_are_detected(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = origin / "auth.log"
    real_read = os.read

    def read_and_forge(descriptor: int, count: int) -> bytes:
        block = real_read(descriptor, count)
        if block.startswith(b"alice"):
            times = (log.stat().st_atime_ns, log.stat().st_mtime_ns)
            log.write_bytes(block.replace(b"alice", b"carol"))
            os.utime(log, ns=times)
        return block

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", read_and_forge)
        evidence_of(origin).collect(order(), custody)
    item = items_of(custody)["auth.log"]
    assert (item.is_changed, item.size_bytes) == (True, log.stat().st_size)
    assert item.modified == "2020-09-13T12:26:40.987654Z"


def test_nothing_to_freeze_fails_and_leaves_nothing(tmp_path: Path, custody: Custody) -> None:
    source = evidence_of(tmp_path / "gone")
    result = source.collect(order(), custody)
    assert result.state is EffectState.FAILED
    assert list((custody.folder / "logs").iterdir()) == []
    with pytest.raises(Unavailable):
        source.describe()


@pytest.mark.parametrize(
    ("owner", "does"),
    [(ItemWriter, "write"), (sealed_source, "make_private"), (sealed_source, "write_seal")],
)
def test_full_disk_is_no_missing_evidence(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch, owner: object, does: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(owner, does, full)
        result = evidence_of(origin).collect(order(), custody)
    assert result.state is EffectState.FAILED
    assert os.strerror(errno.ENOSPC) in result.reason
    assert str(custody.folder) in result.reason
    assert result.retry_after_seconds
    assert not evidence_of(origin).find(order(), custody)


def test_full_file_system_is_collected_again(origin: Path, custody: Custody) -> None:
    (origin / "calls.log").write_bytes(os.urandom(700_000))
    source, others = evidence_of(origin), custody.folder / "others"
    with full_disk(custody.folder, "2m") as is_mounted:
        if not is_mounted:
            refused_to_root("no file system may be mounted here")
        others.write_bytes(bytes(1_500_000))
        result = source.collect(order(), custody)
        assert result.state is EffectState.FAILED
        assert os.strerror(errno.ENOSPC) in result.reason
        assert result.retry_after_seconds
        assert not source.find(order(), custody)
        others.unlink()
        assert source.collect(order(), custody).state is EffectState.DONE
        assert verify_seal(place_of(custody), PUBLIC) == []
        assert items_of(custody)["calls.log"].size_bytes == 700_000


def test_file_system_is_walked_from_its_root(origin: Path, tmp_path: Path) -> None:
    walk = tree_copy.Walk(
        destination=ItemFolder(path=tmp_path / "files"),
        is_excluded=lambda path: not f"{origin}/".startswith(f"{path}/") and "/log/" not in path,
        own_folder=(0, 0),
    )
    found = {item.path: item.kind for item in walk.freeze("/")}
    assert found["/"] is found[str(origin)] is Kind.FOLDER
    assert found[str(origin / "auth.log")] is Kind.FILE
    assert (tmp_path / "files" / str(origin).lstrip("/") / "auth.log").exists()


def test_links_are_kept_as_links_and_never_followed(
    origin: Path, custody: Custody, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "shadow").write_text("root:hash")
    (origin / "out-folder").symlink_to(secret)
    (origin / "out-file").symlink_to(secret / "shadow")
    evidence_of(origin).collect(order(), custody)
    items = items_of(custody)
    assert items["out-folder"].kind is Kind.LINK
    assert items["out-folder"].link_target == str(secret)
    assert "shadow" not in items
    copied = place_of(custody) / "files" / str(origin).lstrip("/") / "out-file"
    assert copied.readlink() == secret / "shadow"
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_linked_root_is_named(origin: Path, custody: Custody, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(origin)
    assert evidence_of(link).collect(order(), custody).state is EffectState.FAILED
    evidence_of(link, origin).collect(order(), custody)
    assert items_of(custody)["current"].kind is Kind.UNREAD
    assert "symbolic link" in items_of(custody)["current"].reason


def test_a_folder_that_becomes_a_link_leads_nowhere(
    origin: Path, custody: Custody, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "shadow").write_text("root:hash")
    real_open = os.open

    def swap_and_open(path: str, flags: int, *rest: int, **where: int) -> int:
        if path == "calls" and not (origin / "calls").is_symlink():
            (origin / "calls").rename(origin / "moved")
            (origin / "calls").symlink_to(tmp_path / "secret")
        return real_open(path, flags, *rest, **where)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", swap_and_open)
        evidence_of(origin).collect(order(), custody)
    items = items_of(custody)
    assert items["calls"].kind is Kind.UNREAD
    assert "shadow" not in items


@pytest.mark.parametrize("becomes", [Kind.UNREAD, Kind.SPECIAL], ids=["a link", "a pipe"])
def test_replaced_file_is_noted_without_blocking(
    origin: Path,
    custody: Custody,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    becomes: Kind,
) -> None:
    (tmp_path / "shadow").write_text("root:hash")
    log = origin / "auth.log"
    real_open = os.open

    def swap_and_open(path: str, flags: int, *rest: int, **where: int) -> int:
        if path == "auth.log" and log.is_file() and not log.is_symlink():
            log.unlink()
            log.symlink_to(tmp_path / "shadow") if becomes is Kind.UNREAD else os.mkfifo(log)
        return real_open(path, flags, *rest, **where)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", swap_and_open)
        evidence_of(origin).collect(order(), custody)
    item = items_of(custody)["auth.log"]
    assert item.kind is becomes
    assert ("became a link" in item.reason) is (becomes is Kind.UNREAD)
    assert not list(place_of(custody).rglob("auth.log"))


def test_foreign_file_changes_its_access_time(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def open_own(path: str, flags: int, *rest: int, **where: int) -> int:
        if flags & os.O_NOATIME and path in ("auth.log", "calls"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return real_open(path, flags, *rest, **where)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_own)
        result = evidence_of(origin).collect(order(), custody)
    assert (result.facts["files"], result.facts["unread"]) == (3, 0)
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_pipes_and_sockets_are_noted_and_hold_nobody(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(origin / "pipe")
    monkeypatch.chdir(origin)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("plug")
        evidence_of(origin).collect(order(), custody)
    items = items_of(custody)
    assert {items["pipe"].kind, items["plug"].kind} == {Kind.SPECIAL}
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_names_of_any_bytes_are_kept(origin: Path, custody: Custody) -> None:
    raw = os.fsencode(origin) + b"/caf\xe9\nlog"
    Path(os.fsdecode(raw)).write_text("odd")
    evidence_of(origin).collect(order(), custody)
    manifest = read_sealed(place_of(custody), PUBLIC)
    (odd,) = (item for item in manifest.items if item.path_bytes)
    assert odd.path.endswith("caf\\xe9\nlog")
    assert os.fsencode(odd.location) == raw.lstrip(b"/")
    assert verify_seal(place_of(custody), PUBLIC) == []


@pytest.mark.parametrize("seconds", [400_000_000_000, -400_000_000_000])
def test_impossible_time_is_kept_in_seconds(seconds: int) -> None:
    assert (
        tree_copy._moment(seconds * 10**9) == f"@{seconds}"
    )  # tested without a file, because few file systems store such a time


def test_what_is_excluded_is_left_out_and_counted(origin: Path, custody: Custody) -> None:
    result = evidence_of(origin, exclude=("empty.*", f"{origin}/calls")).collect(order(), custody)
    assert result.facts["excluded"] == 2
    assert items_of(custody).keys() == {"log", "auth.log"}


def test_evidence_is_never_copied_into_itself(origin: Path, custody: Custody) -> None:
    inside = Custody(
        incident=custody.incident,
        collector=custody.collector,
        reason=custody.reason,
        folder=origin / "evidence",
    )
    evidence_of(origin).collect(order("one"), inside)
    result = evidence_of(origin).collect(order("two"), inside)
    assert result.facts["excluded"] == 1
    assert result.facts["files"] == 3


def test_a_tree_too_deep_is_named_and_ends(origin: Path, custody: Custody) -> None:
    deepest = origin
    for _ in range(tree_copy.DEEPEST + 5):
        deepest /= "d"
    deepest.mkdir(parents=True)
    result = evidence_of(origin).collect(order(), custody)
    assert result.facts["unread"] == 1


def test_too_long_path_is_named_and_rest_frozen(
    origin: Path, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one such path could prevent the freezing of all evidence."""
    monkeypatch.chdir(origin / "calls")
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    Path("hidden").touch()
    result = evidence_of(origin).collect(order(), custody)
    assert (result.state, result.facts["unread"]) == (EffectState.DONE, 1)
    manifest = read_sealed(place_of(custody), PUBLIC)
    (unread,) = [item for item in manifest.items if item.kind is Kind.UNREAD]
    assert unread.reason == os.strerror(errno.ENAMETOOLONG)
    assert items_of(custody)["auth.log"].kind is Kind.FILE
    assert verify_seal(place_of(custody), PUBLIC) == []


def test_a_path_within_another_is_copied_once(origin: Path, custody: Custody) -> None:
    result = evidence_of(origin / "auth.log", origin, origin).collect(order(), custody)
    assert result.facts["files"] == 3


def test_custody_begins_with_collector_and_reason(origin: Path, custody: Custody) -> None:
    evidence_of(origin).collect(order(), custody)
    (entry,) = read_custody(place_of(custody))
    assert (entry.who, entry.act, entry.detail) == ("r.okafor", Act.COLLECTED, "takeover")
    assert verify_custody(place_of(custody)) == []


def test_unsealed_folder_is_no_evidence(origin: Path, custody: Custody) -> None:
    place_of(custody).mkdir(parents=True)
    (place_of(custody) / "manifest.json").write_text(json.dumps({"format": "forged"}))
    assert not evidence_of(origin).find(order(), custody)
    result = evidence_of(origin).collect(order(), custody)
    assert result.state is EffectState.FAILED
    assert "seal" in result.reason


@pytest.mark.parametrize("token", ["../up", "", "a/b", ".hidden", "a\x00b"])
def test_a_token_never_leads_out_of_the_folder(token: str, origin: Path, custody: Custody) -> None:
    assert evidence_of(origin).collect(order(token), custody).state is EffectState.FAILED
    assert not custody.folder.exists()


def test_name_that_is_no_folder_is_refused() -> None:
    settings = FilesEvidenceConfig(kind="files", paths=(Path("/a"),))
    with pytest.raises(ConfigurationError):
        FilesEvidence("../x", settings, CONTEXT)
