"""Settings in docs/notices.md reach recipients."""

import re
import tomllib
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "notices.md").read_text()


def test_page_audiences_give_a_reason() -> None:
    blocks = map(tomllib.loads, re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
    audiences = [one for block in blocks for one in block.get("audiences", {}).values()]
    assert audiences
    # Rows without a reason notify nobody.
    assert [one for one in audiences if "why" not in one and "AS why" not in one["query"]] == []
