"""Paths that exclusion patterns match."""

import os

import pytest

from backup.errors import UsageError
from backup.sources.files.exclusion_patterns import Exclusion


def leaves_out(patterns: list[str], path: str | bytes) -> bool:
    """Return whether a path is excluded; a trailing slash means a folder."""
    raw = os.fsencode(path)
    is_folder = raw.endswith(b"/")
    raw = raw.rstrip(b"/")
    as_folder, as_other = Exclusion(patterns).match(raw, raw.rpartition(b"/")[2])
    return as_folder if is_folder else as_other


@pytest.mark.parametrize(
    ("pattern", "path", "is_left_out"),
    [
        # no slash: a name in any folder
        ("*.tmp", "a.tmp", True),
        ("*.tmp", "deep/er/a.tmp", True),
        ("*.tmp", "a.tmp.txt", False),
        ("cache", "x/cache", True),
        ("cache", "x/cache-2", False),
        ("???", "x/abc", True),
        ("???", "x/abcd", False),
        # a slash at the beginning or in the middle: from the root
        ("/cache", "cache", True),
        ("/cache", "x/cache", False),
        ("calls/*.wav", "calls/one.wav", True),
        ("calls/*.wav", "calls/2026/one.wav", False),
        ("calls/*.wav", "x/calls/one.wav", False),
        ("a?c/d", "a/c/d", False),
        # two stars: any folders or none
        ("**/logs/debug.log", "logs/debug.log", True),
        ("**/logs/debug.log", "a/b/logs/debug.log", True),
        ("**/logs/debug.log", "a/b/mylogs/debug.log", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "ab/z", False),
        ("calls/**", "calls/2026/one.wav", True),
        ("calls/**", "calls/", False),
        ("**", "anything", True),
        ("a**z", "abcz", True),
        ("x/a**z", "x/ab/cz", False),
        # a slash at the end: folders only
        ("build/", "x/build/", True),
        ("build/", "x/build", False),
        ("/a/b/", "a/b/", True),
        ("/a/b/", "a/b", False),
        # classes and escapes
        ("[a-c].txt", "b.txt", True),
        ("[!a-c].txt", "b.txt", False),
        ("[^a-c].txt", "d.txt", True),
        ("[]]", "]", True),
        ("[!]a]", "b", True),
        ("x/[!a]", "x/b", True),
        ("x[!a]y", "x/y", False),
        ("a[", "a[", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        (r"[\d]", "5", False),
        ("a.c", "abc", False),
        ("a\nb", "a\nb", True),
        # names that are not UTF-8
        ("bad-?", b"bad-\xff", True),
        ("*", b"\xff\xfe", True),
    ],
)
def test_pattern_excludes_what_is_documented(
    pattern: str, path: str | bytes, is_left_out: bool
) -> None:
    assert leaves_out([pattern], path) == is_left_out


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = ["*.log", "!keep.log", "/old/**", "!/old/index"]
    assert leaves_out(patterns, "a.log")
    assert not leaves_out(patterns, "keep.log")
    assert leaves_out(patterns, "old/keep.log")
    assert not leaves_out(patterns, "old/index")
    assert not leaves_out([*patterns, "!old/**"], "old/keep.log")


def test_a_folder_only_pattern_may_bring_back() -> None:
    patterns = ["*", "!*/"]
    assert leaves_out(patterns, "file")
    assert not leaves_out(patterns, "folder/")


def test_without_patterns_nothing_is_left_out() -> None:
    assert Exclusion([]).match(b"a/b", b"b") == (False, False)


@pytest.mark.parametrize("pattern", ["", "/", "!", "!/", "a//b", "//a", "../a", "a/./b", "."])
def test_a_pattern_that_can_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="never matches a path"):
        Exclusion([pattern])
