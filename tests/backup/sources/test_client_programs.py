"""Client programs: streamed and ended, without secrets in their output."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.errors import Damaged
from backup.sources.client_programs import (
    Command,
    ProgramFailed,
    ProgramOutput,
    find_program,
    program_output,
    run_program,
)
from backup.sources.output_completeness import TextEndMarker
from backup.targets import feed
from tests.backup.little_memory import little_memory
from tests.servers import wait_until


def shell(script: str, *secrets: str) -> Command:
    return Command(
        arguments=("/bin/sh", "-c", script),
        environment={"PATH": os.environ["PATH"], "WORD": "".join(secrets)},
        secrets=secrets,
    )


def content_of(
    command: Command, *, first: bytes = b"", ending: bytes = b""
) -> tuple[bytes, int, list[str]]:
    """Return a program's output, its size before reading, and its failures."""
    failures: list[str] = []
    given = b""
    with run_program(command, stdout=True) as program:
        looked_for = TextEndMarker(ending) if ending else None
        output = ProgramOutput(program, first=first, ending=looked_for, on_failure=failures.append)
        size = output.size
        buffer = memoryview(bytearray(50_000))
        while count := output.readinto(buffer):
            given += buffer[:count]
        assert output.size == len(given)
    return given, size, failures


def test_short_output_has_its_size_before_reading() -> None:
    assert content_of(shell("printf abc"), first=b"x") == (b"xabc", 4, [])
    assert content_of(shell(":")) == (b"", 0, [])


def test_long_output_has_its_size_at_its_end() -> None:
    given, size, failures = content_of(shell("head -c 3000000 /dev/zero"), first=b"x")
    assert given == b"x" + bytes(3_000_000)
    assert size > 1 << 60
    assert failures == []


@pytest.mark.parametrize("size", [0, 10, 65_535, 65_536, 65_537, 1_000_000])
def test_an_output_counts_only_when_its_program_succeeded(size: int) -> None:
    command = shell(f"head -c {size} /dev/zero; echo fatal: it broke >&2; exit 3")
    with pytest.raises(OSError, match="3: fatal: it broke"):
        content_of(command)


@pytest.mark.parametrize("size", [0, 10, 49_990, 65_520, 65_536, 1_000_000])
def test_interrupted_output_is_a_failure(size: int) -> None:
    body = f"head -c {size} /dev/zero; "
    whole = content_of(shell(body + "echo; echo '-- at the end'"), ending=b"\n-- at the end")
    assert whole[0] == bytes(size) + b"\n-- at the end\n"
    for broken in (
        "",
        "printf '\n-- at the en'",
        "echo; echo '-- at the end'; head -c 2000 /dev/zero",
    ):
        with pytest.raises(OSError, match="breaks off"):
            content_of(shell(body + broken), ending=b"\n-- at the end")
    with pytest.raises(OSError, match="breaks off"):
        content_of(shell(":"), first=b"\n-- at the end", ending=b"\n-- at the end")


def test_byte_wise_end_is_complete() -> None:
    slowly = shell("head -c 65530 /dev/zero; for one in a b c d e f g h; do printf $one; done")
    assert content_of(slowly, ending=b"abcdefgh")[0].endswith(b"\0abcdefgh")


def test_killed_program_is_a_failure() -> None:
    with pytest.raises(OSError, match="sh ended with -9"):
        content_of(shell("head -c 200000 /dev/zero; kill -9 $$"))


def test_silent_program_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup.sources.client_programs.SILENT_SECONDS", 0.2)
    begun = time.monotonic()
    with pytest.raises(OSError, match="no output for"):
        content_of(shell("head -c 200000 /dev/zero; sleep 60"))
    assert time.monotonic() - begun < 30


def test_no_program_or_child_outlives_its_block(tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    script = f"sleep 60 & echo $$ $! > {noted}.new; mv {noted}.new {noted}; wait"
    with run_program(shell(script), stdout=True):
        wait_until(noted.exists, "the program runs")
    pids = [int(pid) for pid in noted.read_text().split()]
    wait_until(lambda: not any(map(_runs, pids)), "they are gone")


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def test_program_messages_are_shortened_without_secrets() -> None:
    word = "pass-word"
    script = 'echo "error: $WORD is wrong" >&2; printf "hint: \\033[31mred\\n" >&2; exit 1'
    with pytest.raises(ProgramFailed) as failed:
        program_output(shell(script, word))
    assert str(failed.value) == "sh ended with 1: error: … is wrong"
    with pytest.raises(ProgramFailed) as failed:
        program_output(shell("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1"))
    assert len(str(failed.value)) < 400
    assert word not in repr(shell("", word))


def files_held_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_endless_messages_keep_beginning_and_end() -> None:
    """A program may write a line per row, too many for memory and for a disk."""
    word = "pass-word"
    lines = "yes 'a row without a key' | head -c 60000000"
    # The first line names the target of the error output; a file would grow without limit.
    script = f'readlink /proc/$$/fd/2; {lines}; echo "error: $WORD is the last"; exit 4'
    before = files_held_open()
    with (
        little_memory(4_000_000),
        run_program(shell(f"exec >&2; {script}", word), stdout=True) as program,
    ):
        with pytest.raises(ProgramFailed, match="4: error: … is the last"):
            program.finish()
        said = program.errors.lines()
    assert said[0].startswith("pipe:")
    assert said[-1] == "error: … is the last"
    assert set(said[1:-1]) >= {"a row without a key"}
    assert sum(map(len, said)) < 100_000
    # There may be fewer, if a file of an earlier test is closed only now.
    assert files_held_open() <= before
    with pytest.raises(ProgramFailed, match="4: error: … is the last"):
        program_output(shell(f"exec >&2; {script}", word))


@pytest.mark.parametrize("before", range(16 * 1024 - 12, 16 * 1024 + 2))
def test_secret_at_the_cut_is_hidden_completely(before: int) -> None:
    word = "pass-word"
    script = (
        f"head -c {before} /dev/zero | tr '\\0' x; printf $WORD; head -c 90000 /dev/zero; exit 4"
    )
    with run_program(shell(f"exec >&2; {script}", word), stdout=True) as program:
        program.process.wait()
        head = "".join(program.errors.lines())
    assert "pass" not in head
    assert "word" not in head


def test_child_that_keeps_the_pipe_is_not_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.sources.client_programs.LAST_ERRORS_SECONDS", 0.2)
    noted = tmp_path / "pid"
    begun = time.monotonic()
    script = f"(sleep 90 >/dev/null & echo $! > {noted}); echo error: it broke >&2; exit 3"
    try:
        with pytest.raises(OSError, match="3: error: it broke"):
            content_of(shell(script))
        assert time.monotonic() - begun < 45
        assert _runs(int(noted.read_text()))
    finally:
        os.kill(int(noted.read_text()), signal.SIGKILL)


def test_unstartable_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"pg_dump: .*package"):
        find_program(["pg_dump"], tmp_path, "p")
    (tmp_path / "pg_dump").write_bytes(b"no program")
    (tmp_path / "pg_dump").chmod(0o755)
    command = Command(arguments=(str(tmp_path / "pg_dump"),), environment={})
    for start in (program_output, lambda one: run_program(one).__enter__()):
        with pytest.raises(ProgramFailed, match="pg_dump: cannot be started"):
            start(command)


def test_program_gets_all_input_and_returns_messages(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    pieces = [bytes([n]) * 100_000 for n in range(30)]
    status, sent, said = feed(shell(f"cat > {taken}; echo done >&2"), lambda: iter(pieces))
    assert (status, sent, said) == (0, 3_000_000, ["done"])
    assert taken.read_bytes() == b"".join(pieces)


def test_program_ending_before_its_input_is_reported() -> None:
    endless = iter(lambda: bytes(100_000), b"")
    status, _, said = feed(shell("head -c 10 >/dev/null; echo full >&2; exit 5"), lambda: endless)
    assert (status, said) == (5, ["full"])


def test_interrupted_stream_is_never_complete(tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    def damaged() -> Iterator[bytes]:
        yield b"half"
        raise Damaged("a pack is not what was written")

    with pytest.raises(Damaged):
        feed(shell(f"cat >/dev/null; touch {ended}"), damaged)
    assert not ended.exists()
