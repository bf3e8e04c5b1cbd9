"""Stand-ins for a server's programs: the real ones behind a script that notes, lies or breaks."""

from collections.abc import Mapping
from pathlib import Path


def wrapped(folder: Path, real: Path, scripts: Mapping[str, str]) -> Path:
    """Make a folder of programs: the real ones, but for those that `scripts` has a shell script of.

    In a script `$REAL` is the program that it stands for.
    """
    folder.mkdir()
    for program in real.iterdir():
        if program.name not in scripts:
            (folder / program.name).symlink_to(program)
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\nREAL='{real / name}'\n{script}\n")
        path.chmod(0o755)
    return folder
