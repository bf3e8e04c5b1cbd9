"""Code blocks of the pages for readers."""

import re
import textwrap
from dataclasses import dataclass

from tests.project.test_tree import ROOT, tracked

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A code block, without the indentation of the list in which it is."""

    page: str
    line: int
    language: str
    text: str

    @property
    def has_commands(self) -> bool:
        return self.language in ("sh", "console")

    @property
    def begins(self) -> str:
        """The first line, by which tables name the block."""
        return self.text.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.begins}"


def pages() -> dict[str, str]:
    """Return the text of each page for readers by its name."""
    names = (path.relative_to(ROOT) for path in tracked() if path.suffix == ".md")
    return {
        name.as_posix(): (ROOT / name).read_text(encoding="utf-8")
        for name in names
        if name.parts[0] in ("README.md", "CONTRIBUTING.md", "docs", "deploy")
        and "decisions" not in name.parts
    }


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start()) + 1,
            language=found[2],
            text=textwrap.dedent(found[3]),
        )
        for found in _BLOCK.finditer(text)
    ]


def fences(page: str) -> int:
    """Return the number of lines that begin or end a code block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE))


def pages_with_commands() -> list[str]:
    """Return the pages that have a block of commands."""
    return [page for page in pages() if any(block.has_commands for block in blocks(page))]
