"""How a command's process begins and ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.desk import ENTRY, ROOT

LATER = "import threading, time; threading.Thread(target=lambda: [time.sleep(0.3), print('late')])"


def run(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "status"), [(["--version"], 0), (["no-such-command"], 2), (["status"], 2)]
)
def test_a_process_ends_with_its_commands_status_and_all_that_it_said(
    words: list[str], status: int, tmp_path: Path
) -> None:
    done = run(ENTRY, *words, cwd=tmp_path)
    assert done.returncode == status
    assert (done.stdout or done.stderr).endswith("\n")


def test_what_a_command_has_registered_for_its_end_is_done(tmp_path: Path) -> None:
    code = (
        "import atexit, standfast.cli.app as app\n"
        "carried_out = app._carried_out\n"
        "def registering(call, words):\n"
        "    atexit.register(print, 'tidied up')\n"
        "    return carried_out(call, words)\n"
        f"app._carried_out = registering\n{ENTRY}"
    )
    done = run(code, "--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["tidied up"]


def test_what_was_registered_before_the_command_is_done_too(tmp_path: Path) -> None:
    done = run(f"import atexit; atexit.register(print, 'measured'); {ENTRY}", "-x", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "measured\n")


def test_a_thread_that_is_not_done_is_waited_for(tmp_path: Path) -> None:
    done = run(f"{LATER}.start(); {ENTRY}", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["late"])


def test_a_command_that_fails_beyond_all_rules_says_where(tmp_path: Path) -> None:
    broken = f"import standfast.cli; standfast.cli.main = None; {ENTRY}"
    done = run(broken, "--version", cwd=tmp_path)
    assert done.returncode == 1
    assert "TypeError" in done.stderr


def test_the_first_look_for_cycles_comes_late_and_the_next_as_usual(tmp_path: Path) -> None:
    code = (
        "import gc, standfast.cli\n"
        "def main():\n"
        "    print(gc.get_threshold()[0], end=' ')\n"
        "    held = [[] for _ in range(200_000)]\n"
        "    print(gc.get_threshold()[0])\n"
        "    return 0\n"
        f"standfast.cli.main = main\n{ENTRY}"
    )
    assert run(code, cwd=tmp_path).stdout == "100000 10000\n"


def test_what_is_said_after_the_command_reaches_both_streams_though_no_line_ends(
    tmp_path: Path,
) -> None:
    later = "atexit.register(lambda: (sys.stdout.write('a'), sys.stderr.write('b')))"
    code = f"import atexit, sys, standfast.cli; standfast.cli.main = lambda: {later} and 0; {ENTRY}"
    done = run(code, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a", "b")


def test_what_is_said_after_the_command_and_lost_does_not_end_as_done(tmp_path: Path) -> None:
    code = (
        "import atexit, os, standfast.cli\n"
        "def say_more():\n"
        "    os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        "    print('lost')\n"
        "def main():\n"
        "    atexit.register(say_more)\n"
        "    return 0\n"
        f"standfast.cli.main = main\n{ENTRY}"
    )
    done = run(code, cwd=tmp_path)
    assert done.returncode == 120  # as Python has it
    assert "No space left" in done.stderr


def test_a_command_that_fails_beyond_all_rules_still_writes_what_lies_in_a_cycle(
    tmp_path: Path,
) -> None:
    """As a file that an error holds, which holds the error by its traceback."""
    code = (
        "import standfast.cli\n"
        "def main():\n"
        "    cycle = [open('half', 'w')]\n"
        "    cycle.append(cycle)\n"
        "    cycle[0].write('written')\n"
        "    raise ZeroDivisionError\n"
        f"standfast.cli.main = main\n{ENTRY}"
    )
    assert run(code, cwd=tmp_path).returncode == 1
    assert (tmp_path / "half").read_text() == "written"


def test_what_a_command_wants_itself_of_the_looks_for_cycles_stays(tmp_path: Path) -> None:
    code = (
        "import gc, standfast.cli\n"
        "def main():\n"
        "    gc.set_threshold(20_000, 5, 5)\n"
        "    held = [[] for _ in range(200_000)]\n"
        "    print(*gc.get_threshold())\n"
        "    return 0\n"
        f"standfast.cli.main = main\n{ENTRY}"
    )
    assert run(code, cwd=tmp_path).stdout == "20000 5 5\n"
