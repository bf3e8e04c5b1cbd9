"""Questions on the terminal, on standard error.

Rules
- Standard output has only the result of a command.
- At the end of the input, or after Ctrl-C, the command ends as interrupted.
"""

import sys


def print_note(line: str) -> None:
    """Print a line that belongs to a question."""
    print(line, file=sys.stderr)


def ask(question: str, default: str = "") -> str:
    """Ask until the answer is not empty; Enter alone returns `default`."""
    while True:
        if (
            answer := _read_answer(f"{question} [{default}]: " if default else f"{question}: ")
            or default
        ):
            return answer


def confirm(question: str) -> bool:
    """Ask for yes or no; Enter alone means no."""
    while (answer := _read_answer(f"{question} [y/N]: ").lower()) not in (
        "y",
        "yes",
        "n",
        "no",
        "",
    ):
        print_note("Answer y or n.")
    return answer.startswith("y")


def _read_answer(shown: str) -> str:
    print(shown, end="", file=sys.stderr, flush=True)
    return input().strip()
