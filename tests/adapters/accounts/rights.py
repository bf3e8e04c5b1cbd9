"""The rights of docs/accounts.md, applied by the tests.

A test names a block by words of the line before it, so it applies exactly the text that an
administrator copies.
"""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs/accounts.md"


def block(kind: str, before: str) -> str:
    """Return the code block of this section that follows these words."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (section,) = [part for part in sections if part.split("\n", 1)[0] == kind]
    found = re.findall(
        rf"^[^\n]*{re.escape(before)}[^\n]*\n+```\w*\n(.*?)^```", section, re.MULTILINE | re.DOTALL
    )
    assert len(found) == 1, f"{kind}: {len(found)} blocks below {before!r}"
    return str(found[0])


def statements(kind: str, before: str) -> list[str]:
    """Return the block's SQL statements."""
    return [part.strip() for part in block(kind, before).split(";\n") if part.strip()]
