"""Command line: one folder for each domain, thin commands.

    app.py      the lazily loaded tree of commands; `main`, which turns errors into exit statuses
    parsing/    commands, groups and parameter types, on top of click
    terminal/   invocation, output, prompts and passphrases

Rules
- A command parses its arguments, calls one use-case (a function of `standfast/usecases/`), and
  prints the result.
- Heavy imports are inside the commands, so that `--help` and `status` start within 0.5 s.
- With `--json`, standard output is exactly one JSON document, also on an error.
- Personal data is printed only if an option asks for it.
"""

from standfast.cli.app import main

__all__ = ["main"]
