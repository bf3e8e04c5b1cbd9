"""Objects below a prefix of a real S3, from the bucket into the repository and back as files."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backup.errors import SourceFailed
from backup.sources import Found, Obstacle
from backup.sources.s3 import S3Source
from backup.sources.s3_listing import Listed, new_listing
from backup.stores.s3 import S3Options
from tests.backup.s3_options import options
from tests.backup.s3_proxy import Fault, running_proxy
from tests.backup.site import Site
from tests.servers import free_port
from tests.servers.seaweedfs import Bucket, Key, SeaweedFs

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


def test_a_prefix_comes_back_as_files(
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


def test_only_what_changed_is_fetched(site: Site, bucket: Bucket, tmp_path: Path) -> None:
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
    # One in thirty is read anew each night, changed or not.
    assert second.bytes_read < 15_000
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


def test_what_goes_or_is_replaced_while_it_is_read_makes_no_half_file(
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


@pytest.mark.parametrize("fault", [Fault.CUT_ANSWER, Fault.UNAVAILABLE, Fault.RESET, Fault.BROKEN])
def test_a_body_that_breaks_off_goes_on_where_it_stopped(
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


def test_an_object_replaced_in_the_middle_is_named_and_not_mixed(
    bucket: Bucket, scratch: Path, site: Site
) -> None:
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


def test_a_role_that_may_only_read_is_enough_and_a_refusal_is_named(
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
    assert "does not take these credentials; docs/sources.md has the policy" in problem.reason
    assert "wrong-word" not in problem.reason
    (told,) = source(bucket, key=wrong).obstacles(scratch)
    assert told.prevents


def test_a_bucket_that_is_not_there_or_does_not_answer_fails_the_source(
    bucket: Bucket, scratch: Path, site: Site
) -> None:
    absent = S3Source("objects", "absent-bucket", "", lambda: options(bucket, bucket.admin))
    silent = source(bucket, endpoint_url=f"http://127.0.0.1:{free_port()}", attempts=2)
    for one, message in ((absent, "there is no bucket"), (silent, "no answer")):
        with pytest.raises(SourceFailed, match=message), one.opened(scratch, site.clock):
            pass
        assert [type(found) for found in one.obstacles(scratch)] == [Obstacle]


def paths_of(scratch: Path, prefix: str, *keys: str) -> tuple[list[str], list[str]]:
    """The paths that keys give, folders with a slash, and the keys that give none."""
    with new_listing(scratch, prefix) as listing:
        lost = [key for key in keys if not listing.add(listed(key))]
        lost += listing.settle()
        paths = [path.decode() + ("/" if one is None else "") for path, one in listing.paths()]
        return paths, lost


def listed(key: str) -> Listed:
    size = 0 if key.endswith("/") else 1
    return Listed(key=key, size=size, etag="e", modified_ns=1, storage="STANDARD")


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
def test_a_key_gives_a_path_that_a_file_system_takes(
    scratch: Path, prefix: str, keys: tuple[str, ...], paths: list[str]
) -> None:
    assert paths_of(scratch, prefix, *keys) == (paths, [])


def test_a_long_component_is_cut_and_a_second_key_of_a_path_is_told(scratch: Path) -> None:
    (path,), lost = paths_of(scratch, "", "ü" * 300)
    assert len(path.encode()) == 217
    assert lost == []
    assert paths_of(scratch, "", "./a", "%2E/a") == (["%2E/", "%2E/a"], ["%2E/a"])
    paths, lost = paths_of(scratch, "", "a", "a%", "a/b")
    assert (paths, lost) == (["a/", "a/b", "a%"], ["a"])


def test_many_objects_are_sorted_as_a_folder_would_be(scratch: Path) -> None:
    keys = [f"{a}{b}/{c}" for a in ("x", "x-", "x/") for b in "abc" for c in range(200)]
    paths, lost = paths_of(scratch, "", *keys)
    assert lost == []
    assert paths == sorted(paths, key=lambda path: path.rstrip("/").replace("/", "\0"))
    assert len(set(paths)) == len(paths) == len(keys) + 10
