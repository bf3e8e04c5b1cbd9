"""Choice of the configuration file: option, environment, current folder.

This module is separate from `standfast/config/`, so that the search for the file does not import
the whole schema.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from standfast.errors import ConfigurationError

VARIABLE: Final = "STANDFAST_CONFIG"
DEFAULT_FILE: Final = "standfast.toml"


def find_config(explicit: Path | None, env: Mapping[str, str]) -> Path:
    """Return the path of the configuration file.

    The first of these that is given applies: `explicit` (from `-c`), `STANDFAST_CONFIG`,
    `./standfast.toml`. Raises `ConfigurationError` if it is not a file, or is in a folder that this
    user may not read.
    """
    if explicit is not None:
        path, origin = explicit, "given with -c"
    elif env.get(VARIABLE):
        path, origin = Path(env[VARIABLE]), f"named by {VARIABLE}"
    else:
        path, origin = Path(DEFAULT_FILE), f"in this folder; neither -c nor {VARIABLE} names one"
    try:
        is_folder = path.is_dir() and (path / DEFAULT_FILE).is_file()
        is_file = path.is_file()
    except PermissionError:
        raise ConfigurationError(
            f"configuration {path} ({origin}): this user may not read it. Run this as the user of "
            "the installation, with `sudo -u USER`."
        ) from None
    if is_folder:
        raise ConfigurationError(
            f"configuration {path} ({origin}): a folder. Name {path / DEFAULT_FILE}."
        )
    if not is_file:
        raise ConfigurationError(
            f"configuration {path} ({origin}): missing. Create it with `standfast init`, "
            "or name yours with -c FILE"
        )
    return path
