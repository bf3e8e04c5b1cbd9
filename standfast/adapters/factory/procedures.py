"""Procedures, built from settings and resolved secrets.

A procedure is a command or HTTP request that the configuration allows playbooks to call.
"""

from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.command import Command
from standfast.adapters.procedures.http_request import Request
from standfast.config import Config
from standfast.records import Now
from standfast.secrets import Reveal


def build_procedure(config: Config, name: str, reveal: Reveal, clock: Now) -> Procedure:
    """Build `commands.NAME` or `requests.NAME`; SecretMissing names a secret."""
    section, _, inner = name.partition(".")
    if section == "commands":
        return Command(name, config.commands[inner], reveal=reveal)
    return Request(name, config.requests[inner], reveal=reveal, clock=clock)
