"""Real servers for tests: one module a server, with its fixtures.

Rules
- Every server listens on loopback (or a socket file), uses its own free port and its own folder,
  and is ended by its process id or its handle, so that the servers of xdist workers never collide.
- A server that is not installed skips its tests with a reason. With STANDFAST_REQUIRE_SERVERS=1, as
  in CI, the skip is a failure. `skip_or_fail` is the only place that decides it.
- Waiting is polling with a deadline (`wait_until`), never a fixed pause.
"""

import contextlib
import importlib.util
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import httpx
import pytest

START_SECONDS = 90.0  # for a busy machine; only a failing test waits for so long
# Below the ports of net.ipv4.ip_local_port_range, and above the last one that a browser refuses to
# open: 10080 (https://fetch.spec.whatwg.org/#port-blocking).
_PORTS = range(10_081, 22_000)


def need(module_or_binary: str, why: str) -> None:
    """Skip or fail the test (`skip_or_fail`) if a program is not installed."""
    if importlib.util.find_spec(module_or_binary) or find_program(module_or_binary):
        return
    skip_or_fail(f"{module_or_binary} is not installed: {why}")


def skip_or_fail(why: str) -> NoReturn:
    """Skip the test, or fail it where servers are required."""
    if os.environ.get("STANDFAST_REQUIRE_SERVERS") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def refused_to_root(why: str) -> NoReturn:
    """Skip the test if the machine refuses an act to root; fail it in CI."""
    if os.geteuid() != 0:
        pytest.skip(why)
    skip_or_fail(why)


def find_program(name: str) -> str | None:
    """Return the path of a program, first next to the interpreter.

    The environment of the interpreter may not be activated. Folders that only root has on its path
    are searched too.
    """
    beside = Path(sys.executable).parent / name
    if beside.is_file():
        return str(beside)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def installed(name: str) -> str:
    """Return the path of a program that `need` has checked."""
    found = find_program(name)
    assert found is not None
    return found


def free_port() -> int:
    """Return a loopback port that was free a moment ago.

    The kernel assigns none of these ports to other sockets, so only another call of this function
    could return the same port before the server listens.
    """
    while True:
        # The module's own generator would return equal ports: pytest-randomly seeds it alike in
        # each worker.
        port = random.SystemRandom().choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def answers(port: int) -> bool:
    """Return whether something accepts connections at the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False
        # If nothing listens, the kernel may assign this very port to the probe, which then connects
        # to itself: a connection that no server accepted.
        return bool(probe.getsockname() != probe.getpeername())


def send_request(method: str, url: str, **more: Any) -> httpx.Response:
    """Send a request to a server, which may be slow on a busy machine."""
    return httpx.request(method, url, trust_env=False, timeout=START_SECONDS, **more)


def growing(seconds: float) -> Iterator[float]:
    """Yield time-outs, shortest first, for a machine that may be busy.

    A test that leaves the loop without a `break` has failed.
    """
    for factor in (1, 4, 16, 64):
        yield seconds * factor
    pytest.fail(f"not even begun within {64 * seconds:g} s", pytrace=False)


def wait_until(
    is_so: Callable[[], bool], expectation: str, *, seconds: float = START_SECONDS
) -> None:
    """Poll until `is_so`; fail the test with the expectation at the deadline."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:g} s still not so: {expectation}", pytrace=False)
        time.sleep(0.01)
