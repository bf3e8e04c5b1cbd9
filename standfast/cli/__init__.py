"""The command line: one thin file a group of commands, each calling one operation.

    app.py      the tree of commands, and `main`: the one place where errors become exit statuses
    declared.py what a command declares: its parameters, how it may end
    words.py    from the words of a command line to a command and its values
    help.py     the help, written from what is declared
    call.py     what every command is called with: its place, `-c` and `--json`
    asking.py   questions to the person at the terminal
    output.py   one JSON document, or calm lines for a person; progress on standard error

Rules
- A command parses, calls, and prints. What it decides is decided in `operations`.
- Heavy imports wait inside the commands: `--help` and `status` answer in 0.1 s.
- With `--json` standard output has one JSON document and nothing else, errors included.
- What may be personal is printed only where an option asks for it.
"""

from standfast.cli.app import main

__all__ = ["main"]
