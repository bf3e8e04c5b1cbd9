"""Start-up of short commands, next to an empty Python process."""

import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks.measure import Contender, Row, Setting, Stopwatch, compare, expect
from tests.usecases.installations import furnish

_HELP, _STATUS = "`standfast --help`", "`standfast status`"
_ROUNDS = 15  # a command takes a moment, and people notice the variation


# The code of the installed script, which a checkout may not have.
STANDFAST = (sys.executable, "-c", "import sys; from standfast.cli import main; sys.exit(main())")


def rows(setting: Setting) -> list[Row]:
    """Time each command from its start until its whole output is read."""
    config_file = furnish(setting.new_folder("place"))

    def ours(_number: int) -> Mapping[str, float]:
        helped, text = _timed([*STANDFAST, "--help"])
        expect(b"incident" in text, "the help names the commands")
        looked, text = _timed([*STANDFAST, "-c", str(config_file), "status"])
        expect(text != b"", "the status says something")
        return {_HELP: helped, _STATUS: looked}

    def nothing(_number: int) -> Mapping[str, float]:
        seconds, _ = _timed([sys.executable, "-c", "pass"])
        return {_HELP: seconds, _STATUS: seconds}

    return compare(
        "commands",
        {_HELP: "s", _STATUS: "s"},
        [
            Contender(subject="standfast", run=ours),
            Contender(subject="python -c pass", run=nothing),
        ],
        setting,
        rounds=max(_ROUNDS, setting.rounds),
    )


def _timed(command: Sequence[str]) -> tuple[float, bytes]:
    watch = Stopwatch()
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    return watch.seconds(), done.stdout
