"""Command `standfast-verify`: evidence in a folder, or a report in a file."""

import sys
from pathlib import Path

from standfast.evidence import standfast_verify, standfast_verify_report


def main() -> int:
    """Verify a report if the first argument is a file, otherwise evidence."""
    arguments = sys.argv[1:]
    if arguments and Path(arguments[0]).is_file():
        return standfast_verify_report.main(arguments)
    return standfast_verify.main(arguments)
