"""A source that yields paths in an order that no manifest has."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup.archiver import manifest_builder
from backup.errors import BackupError
from backup.sources import OpenSource
from backup.sources.files.files_source import FilesSource
from tests.backup.site import Site, new_site
from tests.backup.trees import describe, plain_tree

Order = Callable[[Iterator[Any]], Iterator[Any]]


class MisorderedSource(FilesSource):
    """Files in another order than that of their names."""

    supports_worker_reader = False

    def __init__(self, path: Path, order: Order) -> None:
        super().__init__("files", path)
        self._order = order

    @contextmanager
    def _open(self, scratch: Path, now: Any) -> Iterator[OpenSource]:
        with super()._open(scratch, now) as opened:
            scan = opened.scan
            opened.scan = lambda: self._order(scan())  # changes the order of the result
            yield opened


def last_one_twice(found: Iterator[Any]) -> Iterator[Any]:
    for one in found:
        yield one
    yield one


def last_two_swapped(found: Iterator[Any]) -> Iterator[Any]:
    for one in found:  # the last item was already read, so only folders can be swapped
        if getattr(one, "path", None) == b"z":  # other paths keep their order
            yield next(found)
        yield one


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return new_site(tmp_path / "site")


@pytest.mark.parametrize("order", [last_one_twice, last_two_swapped])
@pytest.mark.parametrize("entries_to_a_page", [manifest_builder.MAX_PAGE_ENTRIES, 2, 3])
def test_unrestorable_paths_make_no_point(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
    entries_to_a_page: int,
) -> None:
    monkeypatch.setattr(manifest_builder, "MAX_PAGE_ENTRIES", entries_to_a_page)
    source = plain_tree(tmp_path / "source")
    before = site.back_up(source)
    (source / "later.txt").write_text("a file that is new")
    for name in ("z", "zz"):
        (source / name).mkdir()
    with pytest.raises(BackupError, match="a path twice"):
        site.back_up(MisorderedSource(source, order))
    (point,) = site.repository().points()
    assert f"{point.writer}/{point.sequence:010d}" == before.point
    assert site.back_up(source).complete
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
