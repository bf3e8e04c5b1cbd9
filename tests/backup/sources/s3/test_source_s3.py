"""Objects of a real S3, from the bucket to the repository and to files."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backup.errors import SourceFailed
from backup.sources import Found, Obstacle
from backup.sources.s3.bucket_listing import ListedObject, new_listing
from backup.sources.s3.bucket_source import S3Source, _Body, _Bucket
from backup.stores.s3 import S3Options
from backup.stores.s3.client import Calls
from tests.backup.s3_options import options
from tests.backup.s3_proxy import Fault, running_proxy
from tests.backup.site import Site
from tests.servers import free_port
from tests.servers.seaweedfs import Bucket, Key, SeaweedFs

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
BIG = bytes(range(256)) * 4096 * 3  # 3 MiB


@pytest.fixture
def bucket(seaweedfs_server: SeaweedFs) -> Bucket:
    """A bucket with versions and no locks."""
    return seaweedfs_server.bucket(can_lock=False)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []


def put(bucket: Bucket, key: str, body: bytes = b"", **more: Any) -> None:
    bucket.client(bucket.admin).put_object(Bucket=bucket.name, Key=key, Body=body, **more)


def source(bucket: Bucket, prefix: str = "", key: Key | None = None, **more: Any) -> S3Source:
    given: S3Options = options(bucket, key or bucket.admin, **more)
    return S3Source(
        "objects", bucket.name, prefix, lambda: given, pause=lambda _: None, jitter=lambda: 1.0
    )


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_prefix_is_restored_as_files(
    site: Site, bucket: Bucket, tmp_path: Path, scratch: Path
) -> None:
    wanted = {
        "calls/a-1.wav": b"1",
        "calls/a/1.wav": BIG,
        "calls/a/Ünal ☎ 100%.txt": b"notes",
        "calls/a.wav": b"",
        "calls/z": b"last",
    }
    for key, body in wanted.items():
        put(bucket, key, body)
    put(bucket, "other/left-out", b"x")
    result = site.back_up(source(bucket, "calls/"))
    assert (result.unread, result.files) == ((), len(wanted))
    site.restore("latest", tmp_path / "out")
    found = files_below(tmp_path / "out" / "objects")
    assert found == {key.removeprefix("calls/"): body for key, body in wanted.items()}
    listed = bucket.client(bucket.admin).head_object(Bucket=bucket.name, Key="calls/z")
    restored = (tmp_path / "out" / "objects" / "z").stat()
    assert datetime.fromtimestamp(restored.st_mtime, UTC) == listed["LastModified"]


def test_only_changed_objects_are_fetched(site: Site, bucket: Bucket, tmp_path: Path) -> None:
    with running_proxy(bucket.server.url) as proxy:
        for number in range(40):
            put(bucket, f"calls/{number}", os.urandom(2000))
        one = source(bucket, "calls/", endpoint_url=proxy.url)
        first = site.back_up(one)
        assert (first.files_new, first.bytes_read) == (40, 80_000)
        put(bucket, "calls/7", b"changed")
        put(bucket, "calls/new", b"new")
        bucket.client(bucket.admin).delete_object(Bucket=bucket.name, Key="calls/8")
        second = site.back_up(one)
    assert second.bytes_read == len(b"changed") + len(b"new")
    assert (second.files_new, second.files_changed, second.files_unchanged) == (1, 1, 38)
    site.restore("latest", tmp_path / "out")
    found = files_below(tmp_path / "out" / "objects")
    assert len(found) == 40
    assert (found["7"], found["new"]) == (b"changed", b"new")


def test_metadata_is_kept_as_attributes(site: Site, bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, "a.wav", b"x", ContentType="audio/wav", Metadata={"agent": "7", "tone": "calm"})
    long = "calls/" + "ü" * 150
    put(bucket, long, b"more than a file's name may be")
    site.back_up(source(bucket))
    repository = site.repository()
    entries = {
        entry.text: dict(entry.xattrs) for entry in repository.entries(repository.resolve("latest"))
    }
    attributes = entries["objects/a.wav"]
    assert attributes[b"user.s3.content-type"] == b"audio/wav"
    assert attributes[b"user.s3.meta.agent"] == b"7"
    assert attributes[b"user.s3.etag"].startswith(b'"')
    assert attributes[b"user.s3.version-id"]
    assert b"user.s3.key" not in attributes
    (cut,) = (text for text in entries if text.startswith("objects/calls/"))
    assert entries[cut][b"user.s3.key"] == long.encode()
    site.restore("latest", tmp_path / "out")
    assert len(files_below(tmp_path / "out")) == 2


def test_object_removed_while_read_leaves_no_part(
    bucket: Bucket, scratch: Path, site: Site
) -> None:
    for key in ("a", "b", "c"):
        put(bucket, key, key.encode() * 10)
    client = bucket.client(bucket.admin)
    one = source(bucket)
    with one.opened(scratch, site.clock) as opened:
        contents = {}
        for item in opened.scan():
            assert isinstance(item, Found)
            if item.path == b"a":
                client.delete_object(Bucket=bucket.name, Key="b")
                put(bucket, "c", b"another")
            if item.path == b"b":
                with pytest.raises(FileNotFoundError), opened.read(item):
                    pass
            elif item.kind == "file":
                with opened.read(item) as content:
                    buffer = bytearray(content.size)
                    content.readinto(memoryview(buffer))
                    contents[item.path] = bytes(buffer)
                    assert content.changed() is None
    assert contents == {b"a": b"a" * 10, b"c": b"another"}


def test_changed_object_of_equal_length_is_fetched(
    site: Site, bucket: Bucket, tmp_path: Path
) -> None:
    """Size and time are the same; only the ETag differs."""
    client = bucket.client(bucket.admin)
    newer = {
        name: put_within_one_second(bucket, f"calls/{name}", b"said once", b"said 2nd.")
        for name in ("1", "2", "3")
    }
    before = client.list_objects_v2(Bucket=bucket.name)["Contents"]
    one = source(bucket, "calls/")
    assert site.back_up(one).files_new == 3
    site.restore("latest", tmp_path / "before")
    assert files_below(tmp_path / "before" / "objects") == dict.fromkeys(newer, b"said 2nd.")
    # The first content is the current version again, with its own time.
    for name, version in newer.items():
        client.delete_object(Bucket=bucket.name, Key=f"calls/{name}", VersionId=version)
    after = client.list_objects_v2(Bucket=bucket.name)["Contents"]
    for a, b in zip(before, after, strict=True):
        assert (a["Size"], a["LastModified"]) == (b["Size"], b["LastModified"])
        assert a["ETag"] != b["ETag"]
    assert site.back_up(one).files_changed == 3
    site.restore("latest", tmp_path / "after")
    assert files_below(tmp_path / "after" / "objects") == dict.fromkeys(newer, b"said once")


def put_within_one_second(bucket: Bucket, key: str, first: bytes, second: bytes) -> str:
    """Put two versions within one listed second; return the second's id."""
    client = bucket.client(bucket.admin)
    for _ in range(50):
        ids = [
            str(client.put_object(Bucket=bucket.name, Key=key, Body=body)["VersionId"])
            for body in (first, second)
        ]
        rows = client.list_object_versions(Bucket=bucket.name, Prefix=key)["Versions"]
        if len({row["LastModified"] for row in rows}) == 1:
            return ids[1]
        for version in ids:
            client.delete_object(Bucket=bucket.name, Key=key, VersionId=version)
    raise AssertionError("the store never took two versions within a second")


LISTING = "list-type=2"
LISTING_FAULTS = [
    Fault.TORN_XML, Fault.STRANGERS_PAGE, Fault.UNAVAILABLE, Fault.GARBAGE, Fault.CUT_ANSWER,
    Fault.TAKEN,
]  # fmt: skip


@pytest.mark.parametrize("fault", LISTING_FAULTS, ids=lambda fault: fault.name)
def test_failed_listing_is_requested_again(
    site: Site, bucket: Bucket, tmp_path: Path, fault: Fault
) -> None:
    put(bucket, "call.wav", b"hello")
    with running_proxy(bucket.server.url) as proxy:
        proxy.will(fault, "GET", LISTING)
        result = site.back_up(source(bucket, endpoint_url=proxy.url, attempts=4))
        assert proxy.happened == [fault]
    assert (result.complete, result.files) == (True, 1)
    site.restore("latest", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"objects/call.wav": b"hello"}


@pytest.mark.parametrize("fault", LISTING_FAULTS, ids=lambda fault: fault.name)
def test_permanently_failing_listing_is_never_an_empty_bucket(
    site: Site, bucket: Bucket, tmp_path: Path, fault: Fault
) -> None:
    put(bucket, "call.wav", b"hello")
    (tmp_path / "tree").mkdir()
    with running_proxy(bucket.server.url) as proxy:
        one = source(bucket, endpoint_url=proxy.url, attempts=2)
        proxy.will(fault, "GET", LISTING, times=999)
        broken = site.back_up(one, tmp_path / "tree")
        (problem,) = broken.unread
        assert (broken.complete, problem.path) == (False, "objects")
        assert f"listing bucket {bucket.name} failed" in problem.reason
        assert "un again" in problem.reason
        proxy.heal()
        assert site.back_up(one, tmp_path / "tree").complete
    site.restore("latest", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"objects/call.wav": b"hello"}


def listed_by(scratch: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> list[str]:
    """List a bucket that returns such pages; return the found paths."""
    given = S3Options(bucket="calls", access_key_id="id", secret_access_key="secret", attempts=3)
    calls = Calls(given, pause=lambda _: None, jitter=lambda: 1.0)
    calls.client = SimpleNamespace(list_objects_v2=lambda **request: answer(request))
    with new_listing(scratch, "") as listing:
        assert _Bucket("objects", "calls", calls).list_into(listing, "") == []
        return [path.decode() for path, _ in listing.paths()]


def page_of(*keys: str, after: str | None = None) -> dict[str, Any]:
    rows = [{"Key": key, "Size": 1, "ETag": '"e"', "LastModified": NOW} for key in keys]
    more = {} if after is None else {"NextContinuationToken": after}
    return {"Name": "calls", "IsTruncated": after is not None, "Contents": rows, **more}


def test_listing_continues_after_an_empty_page(scratch: Path) -> None:
    # Stores with names in folders list `a/x` before `a-x`; other stores list `a-x` first.
    pages = {None: page_of("a/x", after="2"), "2": page_of(after="3"), "3": page_of("a-x", "b")}
    found = listed_by(scratch, lambda request: pages[request.get("ContinuationToken")])
    assert found == ["a", "a/x", "a-x", "b"]


def test_object_on_two_pages_is_listed_once(scratch: Path) -> None:
    pages = {None: page_of("a", "b", after="2"), "2": page_of("b", "c")}
    found = listed_by(scratch, lambda request: pages[request.get("ContinuationToken")])
    assert found == ["a", "b", "c"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: page_of("a", after="same"),
        lambda request: page_of("a", after="2" if request.get("ContinuationToken") == "1" else "1"),
        lambda request: page_of(after=str(int(request.get("ContinuationToken", 0)) + 1)),
    ],
    ids=["one token for ever", "two tokens in turns", "pages of nothing"],
)
def test_listing_without_progress_ends(
    scratch: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    with pytest.raises(SourceFailed, match=r"listing (of )?bucket calls"):
        listed_by(scratch, answer)


@pytest.mark.parametrize("lacking", ["Key", "Size", "ETag", "LastModified"])
def test_incomplete_listing_row_is_an_error(scratch: Path, lacking: str) -> None:
    page = page_of("a")
    del page["Contents"][0][lacking]
    with pytest.raises(SourceFailed, match=r"listing bucket calls failed.*not S3's"):
        listed_by(scratch, lambda request: page)


BODY_FAULTS = [
    Fault.CUT_ANSWER, Fault.UNAVAILABLE, Fault.RESET, Fault.BROKEN, Fault.STRANGERS_PAGE,
    Fault.TORN_XML, Fault.GARBAGE,
]  # fmt: skip


@pytest.mark.parametrize("fault", BODY_FAULTS, ids=lambda fault: fault.name)
def test_interrupted_body_continues_at_its_offset(
    site: Site, bucket: Bucket, tmp_path: Path, fault: Fault
) -> None:
    put(bucket, "call.wav", BIG)
    with running_proxy(bucket.server.url) as proxy:
        proxy.will(fault, "GET", "call.wav")
        result = site.back_up(source(bucket, endpoint_url=proxy.url, attempts=4))
        assert proxy.happened == [fault]
    assert result.complete
    site.restore("latest", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"objects/call.wav": BIG}


@pytest.mark.parametrize("fault", [Fault.STRANGERS_PAGE, Fault.TAKEN], ids=lambda one: one.name)
def test_foreign_bytes_are_never_mixed_into_a_body(
    site: Site, bucket: Bucket, tmp_path: Path, fault: Fault
) -> None:
    put(bucket, "call.wav", BIG)
    (tmp_path / "tree").mkdir()
    with running_proxy(bucket.server.url) as proxy:
        one = source(bucket, endpoint_url=proxy.url, attempts=4)
        proxy.will(Fault.CUT_ANSWER, "GET", "call.wav")
        proxy.will(fault, "GET", "call.wav")
        result = site.back_up(one, tmp_path / "tree")
        assert proxy.happened == [Fault.CUT_ANSWER, fault]
        if fault is Fault.TAKEN:  # S3 then reports that the object has changed
            (problem,) = result.unread
            assert "was replaced or deleted while it was read" in problem.reason
            assert site.back_up(one, tmp_path / "tree").complete
        else:
            assert result.complete
    site.restore("latest", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"objects/call.wav": BIG}


@pytest.mark.parametrize(("etag", "size"), [("another's", 4), ("its", 8)], ids=["etag", "size"])
def test_wrong_range_is_requested_again(etag: str, size: int) -> None:
    """Some stores ignore `If-Match` and ranges."""

    def answer(etag: str, size: int, *pieces: bytes) -> dict[str, Any]:
        left = iter(pieces)
        body = SimpleNamespace(read=lambda most: next(left), close=lambda: None)
        return {"Body": body, "ContentLength": size, "ETag": etag}

    answers = iter((answer(etag, size, b"abcd", b"efgh"), answer("its", 4, b"5678")))
    given = S3Options(bucket="calls", access_key_id="id", secret_access_key="secret", attempts=3)
    calls = Calls(given, pause=lambda _: None, jitter=lambda: 1.0)
    calls.client = SimpleNamespace(get_object=lambda **request: next(answers))
    body = _Body(_Bucket("objects", "calls", calls), "a", answer("its", 8, b"1234", b""))
    read = bytearray(8)
    assert body.readinto(memoryview(read)) == 8
    assert read == b"12345678"


def test_slow_body_fails_the_source(
    site: Site, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(40_000)
    put(bucket, "call.wav", body)
    (tmp_path / "tree").mkdir()
    with running_proxy(bucket.server.url) as proxy:
        one = source(bucket, endpoint_url=proxy.url, read_timeout_seconds=20.0)
        proxy.will(Fault.TRICKLE, "GET", "call.wav")
        monkeypatch.setattr("backup.sources.s3.bucket_source.LONGEST_PIECE_SECONDS", 1.0)
        begun = time.monotonic()
        result = site.back_up(one, tmp_path / "tree")
        assert time.monotonic() - begun < 60  # the whole object would take a hundred seconds
        (problem,) = result.unread
        assert problem.path == "objects"
        assert "a piece of an object took longer than 1 s" in problem.reason
        monkeypatch.undo()
        assert site.back_up(one, tmp_path / "tree").complete
    site.restore("latest", tmp_path / "out")
    assert files_below(tmp_path / "out") == {"objects/call.wav": body}


def test_object_replaced_while_read_is_named(bucket: Bucket, scratch: Path, site: Site) -> None:
    put(bucket, "call.wav", BIG)
    with (
        running_proxy(bucket.server.url) as proxy,
        source(bucket, endpoint_url=proxy.url).opened(scratch, site.clock) as opened,
    ):
        proxy.will(Fault.CUT_ANSWER, "GET", "call.wav")
        for item in opened.scan():
            if isinstance(item, Found) and item.kind == "file":
                with opened.read(item) as content:
                    put(bucket, "call.wav", BIG[::-1])
                    with pytest.raises(OSError, match="was replaced or deleted"):
                        content.readinto(memoryview(bytearray(len(BIG))))


def test_read_only_role_is_enough_and_refusal_named(
    tmp_path: Path, site: Site, bucket: Bucket, scratch: Path
) -> None:
    put(bucket, "a", b"x")
    reader = bucket.key("source")
    assert source(bucket, key=reader).obstacles(scratch) == []
    assert site.back_up(source(bucket, key=reader)).complete
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.client(reader).put_object(Bucket=bucket.name, Key="a", Body=b"y")
    with pytest.raises(ClientError, match="AccessDenied"):
        bucket.client(reader).delete_object(Bucket=bucket.name, Key="a")
    (tmp_path / "tree").mkdir()
    wrong = Key(access_key=reader.access_key, secret_key="wrong-word")
    result = site.back_up(source(bucket, key=wrong), tmp_path / "tree")
    (problem,) = result.unread
    assert problem.path == "objects"
    assert "does not accept these credentials" in problem.reason
    assert "wrong-word" not in problem.reason
    (told,) = source(bucket, key=wrong).obstacles(scratch)
    assert told.prevents


def test_missing_or_silent_bucket_fails_the_source(
    bucket: Bucket, scratch: Path, site: Site
) -> None:
    absent = S3Source("objects", "absent-bucket", "", lambda: options(bucket, bucket.admin))
    silent = source(bucket, endpoint_url=f"http://127.0.0.1:{free_port()}", attempts=2)
    for one, message in ((absent, "there is no bucket"), (silent, "no answer")):
        with pytest.raises(SourceFailed, match=message), one.opened(scratch, site.clock):
            pass
        assert [type(found) for found in one.obstacles(scratch)] == [Obstacle]


def paths_of(scratch: Path, prefix: str, *keys: str) -> tuple[list[str], list[str]]:
    """Return the paths of keys (folders end in a slash), and other keys."""
    with new_listing(scratch, prefix) as listing:
        lost = [key for key in keys if not listing.add(listed(key))]
        lost += listing.separate_folders()
        paths = [path.decode() + ("/" if one is None else "") for path, one in listing.paths()]
        return paths, lost


def listed(key: str) -> ListedObject:
    size = 0 if key.endswith("/") else 1
    return ListedObject(key=key, size=size, etag="e", modified_ns=1, storage="STANDARD")


@pytest.mark.parametrize(
    ("prefix", "keys", "paths"),
    [
        ("", ("a-b", "a/b", "a.b"), ["a/", "a/b", "a-b", "a.b"]),
        ("p/", ("p/", "p/x/y/z"), ["x/", "x/y/", "x/y/z"]),
        ("p/ca", ("p/calls/1", "p/cat"), ["calls/", "calls/1", "cat"]),
        ("", ("a", "a/b", "a!"), ["a/", "a/b", "a!", "a%"]),
        ("", ("a", "a/"), ["a/", "a%"]),
        ("", ("/a", "b//c", "d/"), ["%/", "%/a", "b/", "b/%/", "b/%/c", "d/"]),
        ("", ("../a", "./b"), ["%2E/", "%2E/b", "%2E%2E/", "%2E%2E/a"]),
    ],
)
def test_key_becomes_a_valid_path(
    scratch: Path, prefix: str, keys: tuple[str, ...], paths: list[str]
) -> None:
    assert paths_of(scratch, prefix, *keys) == (paths, [])


def test_object_with_content_and_folder_key_is_file(scratch: Path) -> None:
    with new_listing(scratch, "p/") as listing:
        for key in ("p/", "p/d/"):
            assert listing.add(replace(listed(key), size=7))
        assert listing.separate_folders() == []
        files = [(path, one.key) for path, one in listing.paths() if one is not None]
    assert files == [(b"%", "p/"), (b"d/%", "p/d/")]


def test_long_component_is_cut_and_duplicate_reported(scratch: Path) -> None:
    (path,), lost = paths_of(scratch, "", "ü" * 300)
    assert len(path.encode()) == 217
    assert lost == []
    assert paths_of(scratch, "", "./a", "%2E/a") == (["%2E/", "%2E/a"], ["%2E/a"])
    paths, lost = paths_of(scratch, "", "a", "a%", "a/b")
    assert (paths, lost) == (["a/", "a/b", "a%"], ["a"])


def test_object_conflicting_with_folder_displaces_no_other(
    site: Site, bucket: Bucket, tmp_path: Path
) -> None:
    long = "n" * 255
    for key in ("a", "a/b", "a%/c", long, f"{long}/d"):
        put(bucket, key, key.encode())
    result = site.back_up(source(bucket))
    assert [one.path for one in result.unread] == ["objects/a"]
    assert site.restore("latest", tmp_path / "out").problems == ()
    found = files_below(tmp_path / "out" / "objects")
    (cut,) = (path for path, body in found.items() if body == long.encode())
    assert len(cut) <= 255
    assert {path: body.decode() for path, body in found.items() if path != cut} == {
        key: key for key in ("a/b", "a%/c", f"{long}/d")
    }


def test_object_with_a_taken_path_makes_point_partial(
    site: Site, bucket: Bucket, scratch: Path, tmp_path: Path
) -> None:
    long = "n" * 300
    (cut,), _ = paths_of(scratch, "", long)
    for name in (cut, long, "other"):
        put(bucket, f"calls/{name}", name.encode())
    result = site.back_up(source(bucket))
    assert not result.complete
    assert [one.path for one in result.unread] == [f"objects/calls/{long}"]
    site.restore("latest", tmp_path / "out")
    found = files_below(tmp_path / "out" / "objects")
    assert found == {f"calls/{cut}": cut.encode(), "calls/other": b"other"}


def test_many_objects_are_sorted_like_a_folder(scratch: Path) -> None:
    keys = [f"{a}{b}/{c}" for a in ("x", "x-", "x/") for b in "abc" for c in range(200)]
    paths, lost = paths_of(scratch, "", *keys)
    assert lost == []
    assert paths == sorted(paths, key=lambda path: path.rstrip("/").replace("/", "\0"))
    assert len(set(paths)) == len(paths) == len(keys) + 10
