"""This machine's name, as it is written down.

Linux takes any 64 bytes for one. Here they are text that a ledger, a lock or a manifest can hold
and a terminal can show: what is no UTF-8, or does not print, is escaped.
"""

import os


def host_name() -> str:
    """Give this machine's name; it may be empty."""
    return shown(os.uname().nodename)


def shown(name: str) -> str:
    """Escape in a name of the system's what is no UTF-8, or does not print: `caf\\xe9`."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
