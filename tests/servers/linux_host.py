"""A Linux host of its own: sshd, sudo and /etc, in namespaces.

- `linux_host`: session; its accounts and processes are separate from this machine's and end with
  it. Its /etc, /home, /usr/local and /run are overlays in memory, and it sees only its own
  processes. Its sshd listens on loopback at a free port.
- It needs root with the right to make namespaces. Without this right, its tests are skipped, in CI
  too, because no package can supply the right.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import answers, free_port, installed, need, wait_until

PROGRAM = Path(__file__).parents[2] / "deploy/linux/standfast-accounts"
_START = """
set -e
mount -t tmpfs tmpfs "$FOLDER/mounts"
for place in etc usr/local; do
  name=$(echo "$place" | tr / -)
  mkdir -p "$FOLDER/mounts/$name-upper" "$FOLDER/mounts/$name-work"
  mount -t overlay overlay "/$place" \\
    -o "lowerdir=/$place,upperdir=$FOLDER/mounts/$name-upper,workdir=$FOLDER/mounts/$name-work"
done
mount -t tmpfs -o mode=755 tmpfs /home
mount -t tmpfs -o mode=755 tmpfs /run
mount -t proc proc /proc
mkdir -p /run/sshd
cat > /etc/pam.d/sshd <<END
auth required pam_unix.so nodelay
account required pam_unix.so
session required pam_unix.so
END
cp /etc/pam.d/sshd /etc/pam.d/sudo
userdel nobody  # the contract's name for somebody who is not there
exec "$SSHD" -D -e -f "$FOLDER/sshd_config"
"""
_SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
UsePAM yes
PasswordAuthentication yes
PerSourcePenalties no
MaxStartups 100
"""


@dataclass(frozen=True, kw_only=True)
class LinuxHost:
    """A running host."""

    port: int
    folder: Path
    process_id: int  # the id of its first process, which owns the namespaces of the host

    def words(self, *words: str) -> list[str]:
        """Return the words that run a command on the host as root."""
        return ["nsenter", "-t", str(self.process_id), "-m", "-p", "--", *words]

    def run(self, *words: str, given: str = "", may_fail: bool = False, **variables: str) -> str:
        """Run a command on the host as root; return its output."""
        done = subprocess.run(
            self.words(*words),
            input=given.encode(),
            capture_output=True,
            check=False,
            cwd="/",
            env={**os.environ, **variables},
        )
        assert may_fail or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def key(self, name: str) -> Path:
        """Make a key pair or return the existing one; `.pub` is next to it."""
        path = self.folder / f"key-{name}"
        if not path.exists():
            _make_key(path)
        return path

    def ssh(self, user: str, *, key: Path | None = None, options: Sequence[str] = ()) -> list[str]:
        """Return the words that start an ssh client of the host."""
        way = ["-o", "BatchMode=yes", "-i", str(key)] if key else ["-o", "PubkeyAuthentication=no"]
        return [
            "ssh", "-T", "-F", "none", "-p", str(self.port), *way, *options,
            "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
            "-o", f"UserKnownHostsFile={self.folder}/known_hosts", f"{user}@127.0.0.1",
        ]  # fmt: skip

    def admits(self, user: str, *, key: Path | None = None, password: str = "") -> bool:
        """Sign in with a key or a password, without a command."""
        asker = self.folder / "give-password"
        done = subprocess.run(
            [*self.ssh(user, key=key, options=["-o", "NumberOfPasswordPrompts=1"]), "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            start_new_session=True,
            env={
                **os.environ,
                "SSH_ASKPASS": str(asker),
                "SSH_ASKPASS_REQUIRE": "force",
                "PASSWORD": password,
            },
        )
        return done.returncode == 0


def _make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True
    )


@contextmanager
def running_linux_host() -> Iterator[LinuxHost]:
    """Start the host; kill it with all its processes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sf-host-"))
    try:
        folder.chmod(0o755)
        (folder / "mounts").mkdir()
        _make_key(folder / "host_key")
        asker = folder / "give-password"
        asker.write_text('#!/bin/sh\nprintf "%s\\n" "$PASSWORD"\n')
        asker.chmod(0o755)
        port = free_port()
        (folder / "sshd_config").write_text(_SSHD.format(folder=folder, port=port))
        host_key = (folder / "host_key.pub").read_text().strip()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _START],
                stdout=log, stderr=subprocess.STDOUT, cwd="/",
                env={**os.environ, "FOLDER": str(folder), "SSHD": installed("sshd")},
            )  # fmt: skip
            try:
                wait_until(lambda: process.poll() is not None or answers(port), "sshd answers")
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
                yield LinuxHost(port=port, folder=folder, process_id=int(children.split()[0]))
            finally:
                # By --kill-child the first process of the host dies too, and with it all others.
                process.kill()
                process.wait(timeout=60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def linux_host() -> Iterator[LinuxHost]:
    """A Linux host for this test process."""
    need("sshd", "apt-get install openssh-server")
    need("sudo", "apt-get install sudo")
    may = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        check=False,
    )
    if may.returncode != 0:
        pytest.skip("this machine lets us make no namespaces to run a host in")
    with running_linux_host() as host:
        yield host
