"""`python -m benchmarks [NAME …] [--quick] [--all] [--json] [--rounds N]`.

Exit statuses: 0 measured, 1 a row failed, 2 usage.
"""

import argparse
import importlib
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.measure import Row, Setting, render

# The benchmarks in the order of the table. Each is a module with a function `rows(setting)`.
NAMES = (
    "commands",
    "effects",
    "first_lock",
    "served",
    "containment",
    "openldap",
    "paced",
    "notices",
    "drill",
    "evidence",
    "backup_vs_peers",
    "backup_across_a_network",
)
# `site`, which simulates several hosts and kills them, runs only if it is named: it takes an hour.
_ONLY_NAMED = ("site",)
# Groups of benchmarks. With `--rounds 3`, the group `incident` ends within ten minutes.
GROUPS = {
    "incident": ("first_lock", "served", "containment", "openldap", "paced", "effects"),
}
_FEWEST_ROUNDS = 3


def main(arguments: Sequence[str]) -> int:
    """Run the chosen benchmarks and return the exit status.

    Print one table, or one JSON document.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    names = [member for name in asked.names for member in GROUPS.get(name, (name,))] or NAMES
    if unknown := set(names) - {*NAMES, *_ONLY_NAMED}:
        listed = ", ".join((*NAMES, *_ONLY_NAMED, *GROUPS))
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; choose from {listed}")
    if asked.rounds < _FEWEST_ROUNDS:
        parser.error(f"fewer than {_FEWEST_ROUNDS} rounds show no spread")
    # After a signal too, stop the servers and remove the folder.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="sf-bench-") as name:
        folder = Path(name)
        machine = describe(folder)
        setting = Setting(
            folder=folder,
            rounds=asked.rounds,
            is_quick=asked.quick,
            is_all=asked.all,
            report_progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
        rows = [row for name in dict.fromkeys(names) for row in _rows(name, setting)]
    if asked.json:
        print(json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=1))
    else:
        print(render(machine, rows))
    return int(any(row.is_failed for row in rows))


def _rows(name: str, setting: Setting) -> list[Row]:
    setting = replace(setting, folder=setting.new_folder(name))
    try:
        measured: list[Row] = importlib.import_module(f"benchmarks.{name}").rows(setting)
    except Exception as error:  # a missing program must not prevent the other measurements
        why = f"FAILED: {type(error).__name__}: {error}"
        return [Row(benchmark=name, metric="-", subject="-", unit="-", note=why, is_failed=True)]
    return measured


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Standfast next to other tools.",
        epilog="exit statuses: 0 measured, 1 a row failed, 2 usage",
    )
    listed = (
        f"one of {', '.join((*NAMES, *_ONLY_NAMED))}; or {', '.join(GROUPS)} for all of that kind"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=listed)
    parser.add_argument(
        "--quick", action="store_true", help="a small run that shows whether every benchmark works"
    )
    parser.add_argument("--all", action="store_true", help="also what takes hours")
    parser.add_argument("--json", action="store_true", help="one JSON document with every round")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="3 or more; default 5")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
