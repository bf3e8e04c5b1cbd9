"""Set-up of deploy/serve/README.md agrees with its unit."""

import re
from pathlib import Path

from standfast.config_file import DEFAULT_FILE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy/serve/README.md").read_text()
UNIT = (ROOT / "deploy/serve/standfast.service").read_text()


def the(pattern: str, text: str) -> tuple[str, ...]:
    """Return the groups of the only match in a text."""
    (found,) = re.finditer(pattern, text, re.MULTILINE)
    return found.groups()


def test_unit_runs_as_owner_of_the_installation() -> None:
    user, program, place = the(r"^sudo -u (\w+) (\S+) init (\S+) ", PAGE)
    served_by, config_file = the(r"^ExecStart=(\S+) serve -c (\S+)$", UNIT)
    assert (served_by, config_file) == (program, f"{place}/{DEFAULT_FILE}")
    assert the(r"^User=(\w+)$", UNIT) == (user,)
    assert the(r"^ReadWritePaths=(\S+)$", UNIT) == (place,)
    assert the(r"^install -d -o (\w+) -g \w+ -m 0700 (\S+)$", PAGE) == (user, place)
    assert the(r"^useradd --system .*--home-dir (\S+) .* (\w+)$", PAGE) == (place, user)
    assert the(r"^python3 -m venv (\S+)$", PAGE) == (program.removesuffix("/bin/standfast"),)


def test_what_the_page_installs_is_there() -> None:
    locks = {*re.findall(r"--requirement ([\w/.]+)", PAGE)}
    assert locks == {"requirements/run.txt", "requirements/extras/NAME.txt"}
    extras = re.findall(r"^  \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert all((ROOT / f"requirements/extras/{name}.txt").is_file() for name in extras)
