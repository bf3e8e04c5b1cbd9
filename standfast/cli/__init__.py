"""The command line: a folder for each domain, and thin commands that call one use-case each.

    app.py      the lazily loaded tree of commands; `main`, which turns errors into exit statuses
    parsing/    commands, groups and parameter types, on top of click
    terminal/   invocation, output, prompts and passphrases

Rules
- A command parses, calls one use-case, and prints its result.
- Heavy imports wait inside the commands: `--help` and `status` start within 0.5 s.
- With `--json` standard output has one JSON document and nothing else, errors included.
- Personal data is printed only where an option asks for it.
"""

from standfast.cli.app import main

__all__ = ["main"]
