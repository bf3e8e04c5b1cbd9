"""Questions to the person at the terminal, on standard error: standard output has the result.

Rules
- Where nobody answers any more, or Ctrl-C is typed, the command ends as interrupted.
"""

import sys


def tell(line: str) -> None:
    """Say something that belongs to a question."""
    print(line, file=sys.stderr)


def ask(question: str, usual: str = "") -> str:
    """Ask until something is answered; Enter alone means `usual`."""
    while True:
        if answer := _answer(f"{question} [{usual}]: " if usual else f"{question}: ") or usual:
            return answer


def agrees(question: str) -> bool:
    """Ask for yes or no; Enter alone means no."""
    while (answer := _answer(f"{question} [y/N]: ").lower()) not in ("y", "yes", "n", "no", ""):
        tell("Error: invalid input")
    return answer.startswith("y")


def _answer(shown: str) -> str:
    print(shown, end="", file=sys.stderr, flush=True)
    return input().strip()
