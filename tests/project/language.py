"""Check of docstring summaries and names.

    $ python -m tests.project.language [FOLDER...]
    backup/format/pack.py:12: summary has 81 characters, at most 72: Return the ...

Rules
- Every module with content and every public class has a docstring.
- A summary is its first line: at most 72 characters, one sentence, no relative clause at its start
  and no who, whom or whoever in it.
- No variable has a name that says nothing (`one`, `told`, `there`, `what`, `whom`), and no function
  is named by a preposition or pronoun alone (`_of`, `_to`, `_is`, `_what`, `_who`).
- In tests, whose names state the behaviour, only existing summaries are checked.
- The name of a test has at most eight words, and the pattern of a `match=` at most seven: enough to
  name the cause of an error, too few to repeat its sentence (decision 0076).
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("standfast", "backup", "flows", "demo", "benchmarks", "tests")
MAX_SUMMARY_LENGTH = 72
MAX_TEST_WORDS = 8
MAX_PATTERN_WORDS = 7
# A summary that begins like this has no subject and no verb: the reader has to guess both.
RELATIVE_START = re.compile(
    r"(What|Who|Whom|Whose|Whoever|Whatever|Whichever|Which|That|Of|Whether|Where|When|How)\b"
)
PERSONAL = re.compile(r"\b(who|whom|whoever|whose)\b", re.IGNORECASE)
EMPTY_VARIABLES = frozenset({"one", "told", "there", "what", "whom"})
EMPTY_FUNCTIONS = frozenset({"_of", "_to", "_is", "_in", "_on", "_at", "_by", "_what", "_who"})

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def find_problems(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each problem in a file, in no order."""
    is_test = path.relative_to(ROOT).parts[0] == "tests"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Documented):
            yield from _docstring_problems(node, is_test=is_test)
        if is_test:
            yield from _test_problems(node)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            if node.id in EMPTY_VARIABLES:
                yield node.lineno, f"variable {node.id!r} says nothing: name it by a noun"
        elif isinstance(node, ast.arg) and node.arg in EMPTY_VARIABLES:
            yield node.lineno, f"parameter {node.arg!r} says nothing: name it by a noun"
        elif isinstance(node, ast.FunctionDef) and node.name in EMPTY_FUNCTIONS:
            yield node.lineno, f"function {node.name!r} says nothing: name it by verb and noun"


def _test_problems(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield a test name, or a pattern of an error, with too many words."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
        words = node.name.count("_")
        if words > MAX_TEST_WORDS:
            yield node.lineno, f"{node.name} has {words} words, at most {MAX_TEST_WORDS}"
    elif isinstance(node, ast.keyword) and node.arg == "match":
        # The placeholder of an f-string is part of the word around it.
        text = "".join(
            part.value
            for part in ast.walk(node.value)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        words = max(len(alternative.split()) for alternative in text.split("|"))
        if words > MAX_PATTERN_WORDS:
            yield node.lineno, f"pattern has {words} words, at most {MAX_PATTERN_WORDS}"


def _docstring_problems(node: Documented, *, is_test: bool) -> Iterator[tuple[int, str]]:
    line = getattr(node, "lineno", 1)
    docstring = ast.get_docstring(node)
    if docstring is None:
        if not is_test and _needs_docstring(node):
            yield line, f"{getattr(node, 'name', 'the module')} has no docstring"
        return
    summary = docstring.split("\n", 1)[0]
    if len(summary) > MAX_SUMMARY_LENGTH:
        yield line, f"summary has {len(summary)} characters, at most 72: {summary}"
    if RELATIVE_START.match(summary):
        yield line, f"summary begins with a relative clause: {summary}"
    if PERSONAL.search(summary):
        yield line, f"summary has a personal pronoun, name the role: {summary}"


def _needs_docstring(node: Documented) -> bool:
    """Return whether a node is a module with content or a public class."""
    if isinstance(node, ast.Module):
        return bool(node.body)
    return isinstance(node, ast.ClassDef) and not node.name.startswith("_")


def main(folders: Sequence[str]) -> int:
    """Print every problem below the folders; return 1 if there is any, else 0."""
    found = 0
    for folder in folders or FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT)
            for line, problem in sorted(find_problems(path)):
                print(f"{name}:{line}: {problem}")
                found += 1
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
