"""Restores onto a file system without case, such as FAT and exFAT."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backup.restorer.test_restore_resume import JOURNAL, journal_of
from tests.backup.site import new_site

MERGED = "differs only in upper and lower case"


def without_case(patch: pytest.MonkeyPatch) -> None:
    """Make names in an open folder match in any case, as such a kernel does."""

    def found(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(name: Any, *more: Any, dir_fd: int | None = None, **options: Any) -> Any:
            if dir_fd is not None:
                there = {os.fsdecode(one).casefold(): one for one in os.listdir(dir_fd)}  # noqa: PTH208 - an open one
                name = os.fsencode(there.get(os.fsdecode(name).casefold(), os.fsdecode(name)))
            return call(name, *more, dir_fd=dir_fd, **options)

        return wrapped

    for call in ("mkdir", "open", "stat"):
        patch.setattr(os, call, found(getattr(os, call)))


@pytest.mark.parametrize("died_at_once", [False, True])
@pytest.mark.parametrize(("first", "second"), [("Calls", "calls"), ("ÄÖ", "äö")])
def test_merged_folders_and_their_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str, died_at_once: bool
) -> None:
    source = tmp_path / "source"
    for folder in (first, second, "other"):
        (source / folder / "same").mkdir(parents=True)
        (source / folder / "same" / "note.txt").write_text(folder)
        (source / folder / f"only-{ord(folder[0])}.txt").write_text(folder)
    site = new_site(tmp_path / "site")
    site.back_up(source)
    # This file system distinguishes case, so no problem is named for the names that differ only in
    # case.
    assert site.restore("latest", tmp_path / "told").problems == ()
    if died_at_once:  # only the journal exists, so there is no file to continue with
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / JOURNAL).write_text(journal_of(site))
    with monkeypatch.context() as patch:
        without_case(patch)
        result = site.restore("latest", tmp_path / "out")
    reasons = {problem.path: problem.reason for problem in result.problems}
    merged = [path for path, reason in reasons.items() if MERGED in reason]
    assert len(merged) == 1
    assert merged[0] in (f"files/{first}", f"files/{second}")
    lost = [problem.path for problem in result.problems if problem.is_missing]
    assert lost == [f"{merged[0]}/same/note.txt"]
    assert len(reasons) == 2
    (out,) = (one for one in (tmp_path / "out/files").iterdir() if one.name != "other")
    assert len(list(out.iterdir())) == 3
