"""Lines that were reported as written survive other writers and crashes."""

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from standfast.evidence.private_files import sync_folder
from standfast.usecases.core.append_only_file import append_lines, whole_lines
from tests.backup.disk_trace import Phase, folder_in_memory, in_tracing_process, kill_everywhere
from tests.backup.ptrace import WHERE_TRACED

MEND = "mend the disk"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with folder_in_memory(tmp_path) as folder:
        yield folder


def test_concurrent_appends_lose_no_line(folder: Path) -> None:
    file = folder / "lines"

    def append(who: int) -> list[bytes]:
        lines = [b"x" * (10 + who) + b" %d %d" % (who, number) for number in range(100)]
        for line in lines:
            append_lines(file, [line], MEND)
        return lines

    with ThreadPoolExecutor(6) as pool:
        appended = [line for lines in pool.map(append, range(6)) for line in lines]
    assert sorted(whole_lines(file, MEND)) == sorted(appended)


def test_append_only_file_is_private(folder: Path) -> None:
    file = folder / "away" / "witness" / "lines"
    append_lines(file, [b"one"], MEND)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


class _Appending:
    """Three lines, each reported after it was appended."""

    def __init__(self, folder: Path) -> None:
        self._lines, self._told = folder / "lines", folder / "told"
        self._file = self._lines / "new" / "file"

    def again(self) -> list[Path]:
        for top in (self._lines, self._told):
            for path in sorted(top.rglob("*"), reverse=True) if top.exists() else ():
                path.rmdir() if path.is_dir() else path.unlink()
            top.mkdir(exist_ok=True)
        return [self._lines, self._told]

    def act(self) -> None:
        for number in range(3):
            append_lines(self._file, [b"line %d" % number], MEND)
            (self._told / str(number)).touch()
            sync_folder(self._told)

    def check(self) -> None:
        told = len([*self._told.iterdir()])
        lines = [b"line %d" % number for number in range(3)]
        assert whole_lines(self._file, MEND) in [lines[:told], lines[: told + 1]]
        there = whole_lines(self._file, MEND)
        append_lines(self._file, [b"next"], MEND)
        assert whole_lines(self._file, MEND) == [*there, b"next"]


def _kill(folder: Path, phase: Phase, names: bool | None) -> None:
    one = _Appending(folder)
    kill_everywhere(roots=one.again, act=one.act, check=one.check, phase=phase, names_survive=names)


@WHERE_TRACED
@pytest.mark.parametrize(
    ("phase", "names_survive"),
    [(Phase.DURING, None), (Phase.AFTER, None), (Phase.AFTER, False), (Phase.AFTER, True)],
    ids=["during", "after", "nothing else survives", "names survive"],
)
def test_reported_line_survives_any_crash(
    folder: Path, phase: Phase, names_survive: bool | None
) -> None:
    in_tracing_process(_kill, folder, phase, names_survive)
