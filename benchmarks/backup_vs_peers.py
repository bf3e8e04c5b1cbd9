"""Backup and restore next to restic and borg.

Whole processes are measured, in turn, on the same corpora (sets of test files).

`python -m benchmarks.backup_vs_peers [--rounds N] [--corpus NAME|all] [--scale F] [--json FILE]`
prints a table with the aim next to each figure. A run at full size takes an hour and 50 GB.

- In each round, each program gets an empty repository, and they take turns at each step: first
  backup, unchanged backup, the next day's version, and its restore. A different program is first in
  each round.
- The data of one program is synced before the time of the next program begins. Every program finds
  the source in the page cache: it is read before each backup, because borg drops the pages that it
  has read. The repository is not in the page cache when a restore begins. With `--cold`, nothing is
  in the page cache before each backup, as at the start of a nightly backup.
- Before each measurement, memory is written and freed. The host of a virtual machine may take back
  free memory; the next use of each page then costs processor time (a second for each GB on our
  machine). Without this rule, a program that runs after a large deletion, which frees memory, would
  save this time, and the other programs would not.
- By default, no program waits until the disk has the restored data. Then each program restores once
  more and waits: Standfast with `--sync`, the others with a `sync` afterwards that is included in
  the time.
- Every restore is compared with its source, byte for byte, with modes and times. If it differs, or
  a program fails, the rows of the program state this and have no figures.
- Medians are compared with the aims of `backup_aims`, which are mostly ratios to restic's medians.

Exit statuses: 0 measured, 1 a program failed or restored something else, 2 usage.
"""

import argparse
import json
import os
import shutil
import stat
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import corpora
from benchmarks.backup_aims import AIMS, Aim
from benchmarks.backup_programs import PROGRAMS, Program
from benchmarks.machine import describe
from benchmarks.measure import Missing, Row, Setting, expect, number
from benchmarks.processes import Usage

FIRST, AGAIN, NEXT_DAY, RESTORE, SYNCED = STEPS = (
    "first backup", "unchanged", "next day", "restore", "restore, synced"
)  # fmt: skip
STORED, ADDED_AGAIN, ADDED = "repository", "added, unchanged", "added, next day"
_BUFFER_BYTES = 1 << 20
_MEMORY_BYTES = 256 << 20  # memory of the program itself


@dataclass(kw_only=True)
class Figures:
    """All rounds of one program on one corpus: a list of values per figure."""

    program: str
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # (what, unit)
    failure: str = ""
    is_missing: bool = False

    def note(self, metric: str, unit: str, value: float) -> None:
        self.values.setdefault((metric, unit), []).append(value)

    def note_usage(self, step: str, used: Usage) -> None:
        self.note(step, "s", used.wall_seconds)
        self.note(step, "cpu s", used.cpu_seconds)
        self.note(step, "peak MB", used.memory_bytes / 1e6)

    def median(self, metric: str, unit: str) -> float | None:
        values = self.values.get((metric, unit))
        return None if self.failure or not values else statistics.median(values)


def measure(
    corpus: corpora.Corpus,
    folder: Path,
    rounds: int,
    report_progress: Callable[[str], None],
    programs: Sequence[type[Program]] = PROGRAMS,
    *,
    is_cold: bool = False,
) -> list[Figures]:
    """Measure the programs in turn on a corpus.

    Returns their figures in the order of `programs`.
    """
    figures = [Figures(program=program.name) for program in programs]
    for turn in range(rounds):
        here = folder / f"round-{turn}"
        ready = list(_prepared(here, corpus, programs, figures))
        ready = ready[turn % len(ready) :] + ready[: turn % len(ready)]
        is_next_day = False
        for step in STEPS:
            if step == NEXT_DAY:
                corpus.turn_to_next_day()
                is_next_day = True
            for program, its in ready:
                if its.failure:
                    continue
                report_progress(
                    f"{corpus.name}: round {turn + 1} of {rounds}, {step}, {program.name}"
                )
                try:
                    _take(step, program, its, is_cold)
                except Exception as error:  # a failing program must not end the run of the others
                    its.failure = f"FAILED: {type(error).__name__}: {error}"
        if is_next_day:
            corpus.turn_back()
        # Keep the folder of many files: after its deletion, new files would be slow to create.
        if corpus.name not in ("files", "office"):
            shutil.rmtree(here)
    return figures


def rows(setting: Setting) -> list[Row]:
    """Return the rows for `python -m benchmarks`."""
    scale = 0.02 if setting.is_quick else 0.3
    found = []
    for name in corpora.NAMES:
        corpus = corpora.make(name, setting.folder / f"corpus-{name}", scale)
        figures = measure(corpus, setting.new_folder(name), setting.rounds, setting.report_progress)
        found += list(_rows(corpus.name, figures))
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure the requested rows, print the table, return the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.cold and not os.access("/proc/sys/vm/drop_caches", os.W_OK):
        parser.error("--cold empties the caches of the machine, which only its root may")
    if asked.folder is not None:
        asked.folder.mkdir(parents=True, exist_ok=True)
    names = corpora.NAMES if asked.corpus == "all" else (asked.corpus,)
    others = asked.beside or [program.name for program in PROGRAMS]
    programs = [item for item in PROGRAMS if item is PROGRAMS[0] or item.name in others]
    with tempfile.TemporaryDirectory(prefix="sf-bench-", dir=asked.folder) as made:
        work = Path(made)
        machine = describe(work)
        kept = work if asked.folder is None else asked.folder
        measured = {}
        for name in names:
            corpus = corpora.make(name, kept / f"corpus-{name}", asked.scale)
            _read_into_page_cache(corpus.source)
            measured[name] = measure(
                corpus, work / name, asked.rounds, _print_progress, programs, is_cold=asked.cold
            )
        for name, value in machine.items():
            print(f"{name:<9} {value}")
        print(f"scale     {asked.scale}, {asked.rounds} rounds; min, median and max of each")
        for name, figures in measured.items():
            print(f"\n{name.upper()}")
            print(_table(name, figures))
        if asked.json:
            document = {
                name: [_as_json(result) for result in figs] for name, figs in measured.items()
            }
            text = json.dumps({"machine": machine, "scale": asked.scale, "corpora": document})
            asked.json.write_text(text + "\n")
    return int(
        any(result.failure and not result.is_missing for f in measured.values() for result in f)
    )


def _prepared(
    folder: Path,
    corpus: corpora.Corpus,
    programs: Sequence[type[Program]],
    figures: list[Figures],
) -> Iterator[tuple[Program, Figures]]:
    for kind, its in zip(programs, figures, strict=True):
        if its.failure:
            continue
        try:
            yield kind(folder / kind.name, corpus.source), its
        except Missing as missing:
            its.failure, its.is_missing = f"not measured: {missing}", True


def _take(step: str, program: Program, figures: Figures, is_cold: bool) -> None:
    os.sync()
    if step in (RESTORE, SYNCED):
        _drop_from_page_cache(program.folder)
        _claim_memory(program)
        target = program.folder / step.replace(", ", "-").replace(" ", "-")
        figures.note_usage(step, program.restore(target, waits=step == SYNCED))
        expect_same(program.source, program.restored(target))
        return
    _read_into_page_cache(program.source)
    _claim_memory(program)
    before = program.stored_bytes()
    if is_cold:
        _empty_caches()
    figures.note_usage(step, program.back_up())
    stored = {FIRST: STORED, AGAIN: ADDED_AGAIN, NEXT_DAY: ADDED}[step]
    after = program.stored_bytes()
    figures.note(stored, "MB", (after if step == FIRST else after - before) / 1e6)


def expect_same(source: Path, restored: Path) -> None:
    """Raise Wrong unless two folders are equal.

    Names, kinds, modes, times and every byte are compared.
    """
    names = [
        sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        for root in (source, restored)
    ]
    expect(names[0] == names[1], "the restored tree has the names of the source")
    first, second = (memoryview(bytearray(_BUFFER_BYTES)) for _ in range(2))
    for name in names[0]:
        original, copy = (root / name for root in (source, restored))
        facts = [
            (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_size * stat.S_ISREG(seen.st_mode),
             seen.st_mtime_ns * stat.S_ISREG(seen.st_mode))
            for seen in (original.lstat(), copy.lstat())
        ]  # fmt: skip
        expect(facts[0] == facts[1], f"{name} came back with its mode, owner, size and time")
        if not original.is_file():
            continue
        with original.open("rb", buffering=0) as left, copy.open("rb", buffering=0) as right:
            while count := left.readinto(first):
                is_same = right.readinto(second) == count and first[:count] == second[:count]
                expect(is_same, f"{name} came back byte for byte")


def _table(corpus: str, figures: list[Figures]) -> str:
    headings = ("metric", "unit", *(result.program for result in figures))
    headings = (*headings, *(f"{result.program} ÷ ours" for result in figures[1:]), "aim", "")
    lines = [headings]
    keys = dict.fromkeys(key for result in figures for key in result.values)
    for metric, unit in sorted(keys, key=lambda key: (_ORDER[key[0]], _UNITS.index(key[1]))):
        cells = [_spread(result.values.get((metric, unit), ())) for result in figures]
        medians = [result.median(metric, unit) for result in figures]
        ratios = [_ratio(median, medians[0]) for median in medians[1:]]
        aim = AIMS.get((corpus, metric, unit))
        named = {result.program: median for result, median in zip(figures, medians, strict=True)}
        lines.append((metric, unit, *cells, *ratios, *_held(aim, named)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) for line in lines]
    text += [f"{result.program}: {result.failure}" for result in figures if result.failure]
    return "\n".join(line.rstrip() for line in text)


_ORDER = {name: at for at, name in enumerate((*STEPS, STORED, ADDED_AGAIN, ADDED))}
_UNITS = ("s", "cpu s", "peak MB", "MB")


def _held(aim: Aim | None, medians: dict[str, float | None]) -> tuple[str, str]:
    if aim is None:
        return "", ""
    is_reached = aim.is_reached(*(medians.get(program.name) for program in PROGRAMS))
    if is_reached is None:
        return aim.text, ""
    return aim.text, "reached" if is_reached else "MISSED"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    three = (min(values), statistics.median(values), max(values))
    return " / ".join(number(value) for value in three)


def _ratio(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:.2f}" if theirs is not None and ours else "-"


def _rows(corpus: str, figures: list[Figures]) -> Iterator[Row]:
    keys = dict.fromkeys(key for result in figures for key in result.values)
    for metric, unit in keys:
        ours = figures[0].median(metric, unit)
        for result in figures:
            theirs = result.median(metric, unit)
            yield Row(
                benchmark="backup_vs_peers",
                metric=f"{corpus}: {metric}",
                subject=result.program,
                unit=unit,
                values=tuple(result.values.get((metric, unit), ())) if not result.failure else (),
                ours_to_this=ours / theirs
                if result is not figures[0] and ours and theirs
                else None,
                note=result.failure,
                is_failed=bool(result.failure) and not result.is_missing,
            )


def _as_json(figures: Figures) -> dict[str, object]:
    measured = [
        {"metric": metric, "unit": unit, "values": values}
        for (metric, unit), values in figures.values.items()
    ]
    return {"program": figures.program, "failure": figures.failure, "measured": measured}


def _drop_from_page_cache(folder: Path) -> None:
    """Drop the synced files of a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _empty_caches() -> None:
    """Empty the caches of files, folders and names that are not in use."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _claim_memory(program: Program) -> None:
    """Write and free as much memory as the largest step needs.

    Each page is written: the host of a virtual machine provides a page only when it is used.
    """
    content = sum(path.stat().st_size for path in program.source.rglob("*") if path.is_file())
    # Write through the page cache, because the host takes page cache back; nothing reaches the
    # disk.
    page = bytes(_BUFFER_BYTES)
    used = program.folder / "memory"
    with used.open("wb", buffering=0) as file:
        for _ in range((2 * content + _MEMORY_BYTES) // len(page)):  # once to read, once to write
            file.write(page)
    used.unlink()


def _read_into_page_cache(folder: Path) -> None:
    buffer = bytearray(_BUFFER_BYTES)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.backup_vs_peers",
        description="Back up and restore five corpora, next to restic and borg.",
        epilog="exit statuses: 0 measured, 1 a program failed or restored wrongly, 2 usage",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument(
        "--beside", nargs="+", choices=[program.name for program in PROGRAMS[1:]], help="these only"
    )
    parser.add_argument("--corpus", choices=(*corpora.NAMES, "all"), default="all")
    parser.add_argument(
        "--cold", action="store_true", help="with nothing in the cache before a backup; for root"
    )
    parser.add_argument("--scale", type=float, default=1.0, metavar="F", help="1.0 is full size")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every round, as one document")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="work there, and keep the corpora in it"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
