"""Client of the control socket of a running `standfast serve`.

Commands of this machine use it.

A command that opens an incident needs half a second of the processor to load the ledger; a `serve`
that is warm has it loaded. So the command asks it to open the incident, and loads what it needs to
follow it while the work has begun. Owns the socket's place, the message, and asking. Who answers is
`standfast/console/control_socket_server.py`.

Rules
- A `serve` opens only what the command's own configuration means: one that was read from another
  file, or before the file was changed, leaves it to the command.
- Nothing depends on the door: where nobody answers in time, or says no, the command opens the
  incident itself, as it would have.
- One incident, whoever opens it: the message's id is committed with it, and the same id gives the
  same incident. So it does not matter whether a `serve` that fell silent had opened it.
- The socket is in a folder of `serve`'s own, for its own user alone: who may speak there may read
  the ledger and its keys anyhow.
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
SOURCE = "command"  # of the messages that commands send, beside the triggers' names
_NAME = "serve.sock"
_LONGEST_PATH = 100  # bytes; the kernel takes 107
_PART = 65536


@dataclass(frozen=True, kw_only=True)
class OpenRequest:
    """The incident that a command wants opened."""

    message: str  # 32 hexadecimal digits, drawn by the command
    configuration: str  # its fingerprint
    scenario: str
    inputs: Mapping[str, str | list[str]]
    mode: str
    actor: str


@dataclass(frozen=True, kw_only=True)
class OpenResponse:
    """The answer of a `serve`."""

    incident: str
    has_joined: bool


@dataclass(frozen=True, kw_only=True)
class Door:
    """The address of a `serve` and the configuration of the command."""

    home: Path
    configuration: str  # its fingerprint


def control_socket_of(config_file: Path) -> Door | None:
    """Give the door of the `serve` of this place; None where none was opened."""
    config = load(config_file)
    home = config.serve.prefect_home
    try:
        is_there = socket_of(home).is_socket()
    except OSError:  # another user's, as after a `serve` by root
        is_there = False
    return Door(home=home, configuration=config.fingerprint) if is_there else None


def socket_of(home: Path) -> Path:
    """Give the socket's file."""
    return home / _NAME


def ask(
    home: Path, wanted: OpenRequest, *, seconds: float = ANSWERS_WITHIN_SECONDS
) -> OpenResponse | None:
    """Let the `serve` of this folder open an incident.

    Return None if it does not confirm that it did.
    """
    deadline = time.monotonic() + seconds
    said: dict[str, Json] = {
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
        with address(home) as where, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(seconds)
            door.connect(where)
            door.sendall(json.dumps(said).encode() + b"\n")
            answer = json.loads(line_of(door, deadline))
            return OpenResponse(incident=answer["incident"], has_joined=answer["has_joined"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def wanted_of(line: bytes) -> OpenRequest:
    """Read what a command said; ValueError when it is nothing of ours."""
    try:
        said = json.loads(line)
        wanted = OpenRequest(**said)
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
    """Return the address of the socket.

    A path that is too long for the kernel is given by an open folder.
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


def line_of(door: socket.socket, deadline: float) -> bytes:
    """Read one line before the deadline.

    Raise OSError if none arrives in time, and ValueError if it is too long.

    `deadline` is of the monotonic clock.
    """
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        door.settimeout(left)
        part = door.recv(_PART)
        if not part:
            raise ConnectionError("it hung up")
        parts.append(part)
        size += len(part)
        if size > LARGEST_BYTES:
            raise ValueError("too long")
    return b"".join(parts)
