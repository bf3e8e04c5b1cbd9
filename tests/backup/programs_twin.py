"""Server programs behind scripts that record, fail or lie."""

from collections.abc import Mapping
from pathlib import Path


def wrapped(folder: Path, real: Path, scripts: Mapping[str, str]) -> Path:
    """Return a folder of programs, with shell scripts in place of some.

    In a script, `$REAL` is the path of the real program.
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
