"""Module map of ARCHITECTURE.md, with its writer.

    python -m tests.project.module_map   # `make docs` runs it

Rules
- The map is the end of the page, after its heading.
- A line is the file's name and the summary of its docstring, so that each stands in one place.
"""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tests.project.test_tree import ROOT, tracked

PAGE = ROOT / "ARCHITECTURE.md"
HEADING = "## Module map\n"
FOLDERS = ("standfast", "flows", "backup", "demo")


def module_map() -> str:
    """Return the lines of all modules by folder, with folder summaries."""
    modules = sorted(
        path
        for path in (path.relative_to(ROOT) for path in tracked())
        if path.suffix == ".py" and path.parts[0] in FOLDERS and "versions" not in path.parts
    )
    return "\n".join(
        line
        for folder, paths in groupby(sorted(modules, key=_sort_key), key=lambda path: path.parent)
        for line in _folder_lines(folder, list(paths))
    )


def _sort_key(path: Path) -> tuple[tuple[str, ...], str]:
    return path.parent.parts, path.name


def _folder_lines(folder: Path, paths: list[Path]) -> Iterator[str]:
    purpose = "".join(f": {_summary(path)}" for path in paths if path.name == "__init__.py")
    yield f"\n**`{folder}/`**{purpose}\n"
    for path in paths:
        if path.name not in ("__init__.py", "__main__.py"):
            yield f"- `{path.name}`: {_summary(path)}"


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")


def expected_page(page: str) -> str:
    """Return the page with the current map after its heading."""
    before, heading, _ = page.partition(HEADING)
    about = (
        "\nOne line for each module, written by `make docs` from its docstring. If a behaviour has"
        "\nmodules in several layers, the use-case decides when; the lower layer does it.\n"
    )
    return f"{before}{heading}{about}{module_map()}\n"


if __name__ == "__main__":
    PAGE.write_text(expected_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
