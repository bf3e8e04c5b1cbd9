"""Name of this machine, in a form that can be stored and shown.

Linux accepts any 64 bytes as a name. Characters that are not UTF-8, or not printable, are escaped,
so that a database, a lock, a manifest and a terminal can use the name.
"""

import os


def host_name() -> str:
    """Return this machine's name; it may be empty."""
    return shown(os.uname().nodename)


def shown(name: str) -> str:
    r"""Escape the invalid and unprintable characters of a name: `caf\xe9`."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
