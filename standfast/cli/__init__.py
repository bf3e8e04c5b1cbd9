"""The command line: one thin file a group of commands, each calling one operation.

    app.py      the tree of commands, and `main`: the one place where errors become exit statuses
    call.py     how a command is declared: its options everywhere, its exit statuses in the help
    output.py   one JSON document, or calm lines for a person; progress on standard error

Rules
- A command parses, calls, and prints. What it decides is decided in `operations`.
- Heavy imports wait inside the commands: `--help` and `status` answer in under 0.4 s.
- With `--json` standard output has one JSON document and nothing else, errors included.
- What may be personal is printed only where an option asks for it.
"""

from standfast.cli.app import main

__all__ = ["main"]
