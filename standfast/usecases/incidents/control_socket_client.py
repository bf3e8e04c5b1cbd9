"""Client of the control socket of a running `standfast serve`.

A command needs half a second of processor time to load the code of the ledger (the database of
incidents). A running `serve` has loaded this code already. Therefore a command asks `serve` to open
the incident, and loads the code while `serve` begins to work on the incident. The server is
`standfast/console/control_socket_server.py`.

Rules
- `serve` refuses to open the incident if its configuration differs from that of the command.
- If `serve` refuses or does not answer in time, the command opens the incident itself.
- A repeated request opens no second incident: the id of the request is committed with the incident,
  and the same id returns the same incident.
- The socket is in a folder that only the user of `serve` (and root) can enter. This user can read
  the ledger and its keys anyway, so the socket is no additional risk.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from standfast.config import load
from standfast.records import Json

ANSWERS_WITHIN_SECONDS = 1.0
LARGEST_BYTES = 4 * 1024 * 1024
# The source of messages from commands. All other sources are names of triggers, such as webhooks.
SOURCE = "command"
_NAME = "serve.sock"
_LONGEST_PATH = 100  # bytes; the kernel accepts 107
_PART = 65536


@dataclass(frozen=True, kw_only=True)
class OpenRequest:
    """A request of a command to open an incident."""

    message: str  # id of the request: 32 random hexadecimal digits
    configuration: str  # fingerprint of the configuration
    scenario: str
    inputs: Mapping[str, str | list[str]]
    mode: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class OpenResponse:
    """The answer of a running `serve`."""

    incident: str
    has_joined: bool  # True if the request belongs to an incident that was open already


@dataclass(frozen=True, kw_only=True)
class ServeAddress:
    """The address of a running `serve`, and the command's configuration."""

    home: Path
    configuration: str  # fingerprint of the configuration


def control_socket_of(config_file: Path) -> ServeAddress | None:
    """Return the address of this installation's `serve`; None if none runs."""
    config = load(config_file)
    home = config.serve.prefect_home
    try:
        is_there = socket_of(home).is_socket()
    except OSError:  # the folder belongs to another user, as after a `serve` by root
        is_there = False
    return ServeAddress(home=home, configuration=config.fingerprint) if is_there else None


def socket_of(home: Path) -> Path:
    """Return the path of the socket."""
    return home / _NAME


def ask(
    home: Path, wanted: OpenRequest, *, seconds: float = ANSWERS_WITHIN_SECONDS
) -> OpenResponse | None:
    """Ask the `serve` of this folder to open an incident.

    Return None if `serve` does not confirm the opening.
    """
    deadline = time.monotonic() + seconds
    document: dict[str, Json] = {
        "message": wanted.message,
        "configuration": wanted.configuration,
        "scenario": wanted.scenario,
        "inputs": {
            name: [*value] if isinstance(value, list) else value
            for name, value in wanted.inputs.items()
        },
        "mode": wanted.mode,
        "actor": wanted.actor,
    }
    try:
        with (
            address(home) as where,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            connection.settimeout(seconds)
            connection.connect(where)
            connection.sendall(json.dumps(document).encode() + b"\n")
            answer = json.loads(read_line(connection, deadline))
            return OpenResponse(incident=answer["incident"], has_joined=answer["has_joined"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def parse_request(line: bytes) -> OpenRequest:
    """Parse a request; raise ValueError if it is not valid."""
    try:
        document = json.loads(line)
        wanted = OpenRequest(**document)
    except (TypeError, RecursionError):
        raise ValueError("not a message of a command") from None
    texts = (
        wanted.message, wanted.configuration, wanted.scenario, wanted.mode, wanted.actor
    )  # fmt: skip
    if not all(isinstance(text, str) for text in texts) or not wanted.actor.startswith("os:"):
        raise ValueError("not a message of a command")
    if len(wanted.message) != 32 or not isinstance(wanted.inputs, dict):
        raise ValueError("not a message of a command")
    return wanted


@contextmanager
def address(home: Path) -> Iterator[str]:
    """Yield the address of the socket.

    The kernel accepts no long paths. A long path is replaced by a short path in `/proc`, through an
    open descriptor of the folder.
    """
    path = str(socket_of(home))
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{_NAME}"
    finally:
        os.close(folder)


def read_line(connection: socket.socket, deadline: float) -> bytes:
    """Read one line before `deadline`, a time of the monotonic clock.

    Raise OSError if no line arrives in time, and ValueError if the line is too long.
    """
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        connection.settimeout(left)
        part = connection.recv(_PART)
        if not part:
            raise ConnectionError("the connection was closed")
        parts.append(part)
        size += len(part)
        if size > LARGEST_BYTES:
            raise ValueError("too long")
    return b"".join(parts)
