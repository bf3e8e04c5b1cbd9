"""Commands and settings in docs/deadlines.md work."""

import re
from pathlib import Path

from standfast.cli.deadlines.deadline import deadline
from standfast.config import load
from standfast.usecases.deadlines.obligations import obligations, reach

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deadlines.md").read_text()


def test_the_configuration_of_the_page_brings_obligations(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    config_file = tmp_path / "standfast.toml"
    organisation = '[organisation]\nname = "A"\ncontact_line = "a number"\n'
    config_file.write_text(organisation + toml)
    config = load(config_file)
    found = [one for one in obligations(config) if reach(config).covers(one)]
    # The obligations of "US federal" are all of trades that the example is not in.
    assert {one.jurisdiction for one in found} == {"EU/EEA", "UK", "US-CA", "contract:acme"}


def test_each_command_of_the_page_is_one() -> None:
    named = set(re.findall(r"`standfast deadline (\w+)", PAGE))
    assert named == deadline.commands.keys()
