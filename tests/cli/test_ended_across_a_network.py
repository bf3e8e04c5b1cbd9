"""Commands that end within seconds while a bucket does not answer.

Otherwise Ctrl-C and `kill` would wait for all time-outs and attempts, which is minutes. The command
names the operation that waits. Whether the request arrived is unknown, as after any crash.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.stores.s3.store import open_s3
from tests.backup.s3_options import options
from tests.backup.s3_proxy import Fault, Proxy, running_proxy
from tests.backup.trees import noise
from tests.servers import wait_until
from tests.servers.seaweedfs import Bucket, Role
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.backups.test_backup_s3 import WRITER, configuration
from tests.usecases.backups.test_retention import RULES, name_a_keeper

_SECONDS = 50.0  # less than the time-out of one call, and there may be eight calls


@pytest.fixture
def proxy(s3_bucket: Bucket) -> Iterator[Proxy]:
    with running_proxy(s3_bucket.server.url) as proxy:
        yield proxy


@pytest.fixture
def folder(tmp_path: Path, s3_bucket: Bucket, proxy: Proxy) -> Path:
    """An installation behind the proxy, with a configuration for each role."""
    furnish(tmp_path, more=RULES)
    (tmp_path / "recordings/long.wav").write_bytes(noise(6_000_000))
    name_a_keeper(tmp_path, tmp_path / "keys/keeper.json")
    store = open_s3(options(s3_bucket, s3_bucket.admin))
    for record in sorted((tmp_path / "vault/pub/root").iterdir()):
        store.put(f"pub/root/{record.name}", record.read_bytes())
    roles: tuple[Role, ...] = ("writer", "reader", "verifier", "keeper")
    for role in roles:
        file = configuration(tmp_path, s3_bucket, s3_bucket.key(role, writer=WRITER), role)
        file.write_text(file.read_text().replace(s3_bucket.server.url, proxy.url))
    return tmp_path


def begun(folder: Path, role: Role, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "standfast", "-c", str(folder / f"{role}.toml"), "backup"]
    return subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: "subprocess.Popen[str]", seconds: float | None = None) -> tuple[int, str]:
    with process:
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            process.kill()
    return process.returncode, out + err


def done(folder: Path, role: Role, *words: str) -> None:
    status, said = ended(begun(folder, role, *words))
    assert status == 0, said


COMMANDS: dict[str, tuple[Role, tuple[str, ...], tuple[str, str]]] = {
    "backup": ("writer", ("run", "main"), ("PUT", "/p/")),
    "verify": ("verifier", ("verify", "--read"), ("GET", "/p/")),
    "restore": ("reader", ("restore", "latest", "--set", "main"), ("GET", "/p/")),
    "keep": ("keeper", ("keep",), ("GET", "/s/")),
}


@pytest.mark.sampled
@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_command_ends_soon_for_a_silent_bucket(
    name: str, number: signal.Signals, status: int, folder: Path, proxy: Proxy
) -> None:
    role, words, (method, containing) = COMMANDS[name]
    if name != "backup":
        done(folder, "writer", "run", "main")
    passed = 0
    if name == "restore":
        words = (*words, "--identity", str(identity(folder)), "--to", str(folder / "out"))
        proxy.requests.clear()
        done(folder, role, *words[:-1], str(folder / "first"))
        passed = sum(one == method and containing in path for one, path in proxy.requests) - 1
    proxy.will(Fault.NO_ANSWER, method, containing, after=passed, times=1000)
    process = begun(folder, role, *words)
    wait_until(lambda: Fault.NO_ANSWER in proxy.happened, "a call that gets no answer")
    process.send_signal(number)
    found, said = ended(process, _SECONDS)
    assert found == status, said
    assert "stopping: waiting at most 5 s for calls to the store: " in said
    assert "Traceback" not in said
    with installation_at(folder / f"{role}.toml") as installation:
        assert installation.ledger.runs.all(name)[0].state == "failed"
    proxy.heal()
    done(folder, role, *words)
    done(folder, "verifier", "verify", "--read")
    if name == "restore":
        restored = folder / "out/recordings/long.wav"
        assert restored.read_bytes() == (folder / "recordings/long.wav").read_bytes()
