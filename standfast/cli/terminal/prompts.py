"""Questions on the terminal, on standard error.

Rules
- Standard output has only the result of a command.
- At the end of the input, or after Ctrl-C, the command ends as interrupted.
"""

import sys


def tell(line: str) -> None:
    """Print a line that belongs to a question."""
    print(line, file=sys.stderr)


def ask(question: str, usual: str = "") -> str:
    """Ask until the answer is not empty; Enter alone returns `usual`."""
    while True:
        if answer := _answer(f"{question} [{usual}]: " if usual else f"{question}: ") or usual:
            return answer


def agrees(question: str) -> bool:
    """Ask for yes or no; Enter alone means no."""
    while (answer := _answer(f"{question} [y/N]: ").lower()) not in ("y", "yes", "n", "no", ""):
        tell("Answer y or n.")
    return answer.startswith("y")


def _answer(shown: str) -> str:
    print(shown, end="", file=sys.stderr, flush=True)
    return input().strip()
