"""The Linux connector on a real host with sshd and sudo."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from standfast.adapters.accounts.linux import LinuxConnector
from standfast.errors import ConfigurationError
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract, House, order
from tests.adapters.accounts.rights import block
from tests.servers import wait_until
from tests.servers.linux_host import PROGRAM, LinuxHost

pytestmark = pytest.mark.xdist_group("linux_host")


@pytest.fixture(scope="module")
def command(linux_host: LinuxHost) -> tuple[str, ...]:
    """Set up the host as docs/accounts.md says; return the restricted command."""
    key = linux_host.key("connector")
    linux_host.run(
        "bash", "-euc", f"cd {PROGRAM.parent}\n" + block("linux", "Run on the host, as root"),
        PUBLIC_KEY=key.with_suffix(".pub").read_text().strip(),
    )  # fmt: skip
    return tuple(linux_host.ssh("standfast", key=key))


_HANGING_HOME = """
exec 3<>/dev/fuse
mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 away "$1"
echo ready
read -r _ || exit 0
"""
_SILENT_BUS = """
mkdir -p /run/systemd/system /run/dbus
exec python3 -c "
import socket, sys
bus = socket.socket(socket.AF_UNIX)
bus.bind('/run/dbus/system_bus_socket')
bus.listen(50)
print('ready', flush=True)
sys.stdin.read()
"
"""


_AS = 'exec setpriv --reuid "$1" --regid "$1" --clear-groups sh -c "echo ready; read -r _"'
_APART_AS = _AS.replace(" sh -c", " unshare --user sh -c")  # as a container without root does


@contextmanager
def standing_by(host: LinuxHost, script: str, *words: str) -> Iterator[None]:
    """Run a script on the host from its ready line to the end of the block."""
    process = subprocess.Popen(
        host.words("sh", "-euc", script, "sh", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.communicate()  # the end of its input ends the script


class LinuxHouse(House):
    def __init__(self, host: LinuxHost, command: tuple[str, ...]) -> None:
        self.host = host
        self.connector = connect(LinuxConnector, command=command)
        self._sessions: list[subprocess.Popen[bytes]] = []

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        key = self.host.key("holder").with_suffix(".pub").read_text()
        self.host.run("useradd", "--badname", "-m", "-s", "/bin/sh", "--", name)
        self.host.run("chpasswd", given=f"{name}:right\n")
        self.host.run(
            "sh", "-euc",
            'home=$(getent passwd -- "$1" | cut -d: -f6); mkdir -m 755 "$home/.ssh"'
            ' && cat > "$home/.ssh/authorized_keys"',
            "sh", name, given=key,
        )  # fmt: skip
        if not is_enabled:
            self.set_enabled(name, False)

    def is_enabled(self, name: str) -> bool:
        return self.stamp(name)[7] == ""

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        if is_enabled:
            self.host.run("usermod", "-U", "-e", "", "--", name)
        else:
            self.host.run("usermod", "-L", "-e", "1", "--", name)

    def stamp(self, name: str) -> list[str]:
        return self.host.run("getent", "shadow", "--", name).strip().split(":")

    def sign_in(self, name: str) -> bool:
        return self.host.admits(name, key=self.host.key("holder"))

    def open_session(self, name: str) -> "subprocess.Popen[bytes]":
        """Sign in and stay, with a process that ignores requests to end."""
        words = [
            *self.host.ssh(name, key=self.host.key("holder")),
            "trap '' TERM HUP; echo in; cat",
        ]
        session = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._sessions.append(session)
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        return session

    def close(self) -> None:
        self.connector.close()
        for session in self._sessions:
            session.kill()
            session.communicate()


@pytest.fixture
def house(linux_host: LinuxHost, command: tuple[str, ...]) -> Iterator[LinuxHouse]:
    house = LinuxHouse(linux_host, command)
    yield house
    house.close()


class TestLinuxDirectory(ConnectorContract): ...


def test_old_session_key_and_password_are_refused(house: LinuxHouse, alice: str) -> None:
    session = house.open_session(alice)
    assert house.host.admits(alice, password="right")
    before = house.observe(alice)
    assert (before.live_sessions or 0) > 0
    result = house.lock(alice)
    assert (result.state, result.facts["changed"]) == (EffectState.DONE, True)
    wait_until(lambda: session.poll() is not None, "the session has ended")
    assert not house.sign_in(alice)
    assert not house.host.admits(alice, password="right")
    assert house.prove(alice).proof is Proof.SESSIONS_GONE
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.sign_in(alice)
    assert house.host.admits(alice, password="right")


def test_locked_password_alone_is_no_proof(house: LinuxHouse, alice: str) -> None:
    house.host.run("usermod", "-L", alice)
    assert house.sign_in(alice)
    result = house.prove(alice)
    assert (result.state, "keys" in result.reason) == (EffectState.FAILED, True)


def test_revocation_ends_processes_and_admits_holder_again(house: LinuxHouse, alice: str) -> None:
    session = house.open_session(alice)
    (result,) = house.connector.revoke([order("lock", alice)])
    assert result.state is EffectState.DONE
    wait_until(lambda: session.poll() is not None, "the session has ended")
    assert house.sign_in(alice)


def test_surviving_process_is_no_proof(house: LinuxHouse, alice: str) -> None:
    house.open_session(alice)
    house.set_enabled(alice, False)
    result = house.prove(alice)
    assert (result.state, "process" in result.reason) == (EffectState.FAILED, True)
    house.lock(alice)
    assert house.prove(alice).state is EffectState.DONE


@pytest.mark.parametrize(("locked", "expires"), [(True, ""), (False, "30000"), (True, "5")])
def test_password_and_expiry_are_restored(
    house: LinuxHouse, alice: str, locked: bool, expires: str
) -> None:
    house.host.run("usermod", *(["-L"] if locked else []), "-e", expires, alice)
    shadow = house.stamp(alice)
    before = house.observe(alice)
    assert before.is_enabled is (expires != "5")
    house.lock(alice)
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.stamp(alice) == shadow


def test_key_only_account_works_after_undo(house: LinuxHouse) -> None:
    name = f"keys-{uuid.uuid4().hex[:8]}"
    house.add(name)
    house.host.run("usermod", "-p", "*", name)
    before = house.observe(name)
    house.lock(name)
    assert not house.sign_in(name)
    house.undo(name, before)
    assert house.stamp(name)[1] == "*"
    assert house.sign_in(name)


@pytest.mark.parametrize(
    ("name", "why"), [("root", "root"), ("daemon", "system"), ("standfast", "")]
)
def test_forbidden_lock_is_reported_and_refused(house: LinuxHouse, name: str, why: str) -> None:
    before = house.stamp(name)
    assert why in house.observe(name).obstacle
    result = house.lock(name)
    assert (result.state, result.reason) == (EffectState.REFUSED, house.observe(name).obstacle)
    assert result.reason
    assert house.stamp(name) == before


@pytest.mark.parametrize(
    "name",
    ["0", "-u", "--help", "alice root", "root:x", "a/b", "$(id)", "`id`", "a\tb", "^root", "."],
)
def test_shell_patterns_in_names_match_nobody(house: LinuxHouse, name: str) -> None:
    before = house.host.run("cat", "/etc/shadow")
    assert not house.observe(name).exists
    assert house.lock(name).state is EffectState.REFUSED
    assert house.host.run("cat", "/etc/shadow") == before


def test_high_uid_is_locked(
    house: LinuxHouse,
) -> None:
    """Some companies use the same ids on all hosts, above a limit."""
    name = f"agent-{uuid.uuid4().hex[:8]}"
    house.add(name)
    house.host.run("usermod", "-u", "100001", name)
    before = house.observe(name)
    assert before.obstacle == ""
    assert house.lock(name).state is EffectState.DONE
    assert not house.sign_in(name)
    assert house.undo(name, before).state is EffectState.DONE
    assert house.sign_in(name)


@pytest.mark.parametrize("name", ["Ann.Lee", "back\\slash", "per%cent", "0o7", "ünï"])
def test_an_unusual_name_is_locked_and_no_other(house: LinuxHouse, alice: str, name: str) -> None:
    house.host.run("useradd", "--badname", "--", name, may_fail=True)
    if not house.host.run("getent", "passwd", "--", name, may_fail=True):
        pytest.skip("this system lets nobody have such a name")
    before = house.stamp(alice)
    assert house.lock(name).state is EffectState.DONE
    assert house.stamp(name)[7] == "1"
    assert house.stamp(alice) == before


@pytest.mark.parametrize("set_to", ["20000", "30000"])
def test_later_expiry_date_is_kept(house: LinuxHouse, alice: str, set_to: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    house.host.run("usermod", "-e", set_to, alice)
    shadow = house.stamp(alice)
    undone = house.undo(alice, before)
    assert (undone.state, "somebody set an earlier" in undone.reason) == (EffectState.REFUSED, True)
    assert house.stamp(alice) == shadow
    house.host.run("usermod", "-e", "", alice)  # the person that set the expiry removes it
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.sign_in(alice)


def test_hanging_home_prevents_no_lock_or_undo(house: LinuxHouse, alice: str) -> None:
    """A home folder on a hanging file server blocks every access to it."""
    bob = f"bob-{uuid.uuid4().hex[:8]}"
    house.add(bob)
    before = house.observe(alice)
    with standing_by(house.host, _HANGING_HOME, f"/home/{alice}"):
        results = house.connector.lock([order("lock", name) for name in (alice, bob)])
        assert [result.state for result in results] == [EffectState.DONE] * 2
        assert house.prove(alice).state is EffectState.DONE
        assert house.undo(alice, before).state is EffectState.DONE
    house.host.run("umount", "-l", f"/home/{alice}")
    assert house.sign_in(alice)
    assert not house.sign_in(bob)


def test_silent_logind_keeps_no_process_alive(house: LinuxHouse, alice: str) -> None:
    before, session = house.observe(alice), house.open_session(alice)
    with standing_by(house.host, _SILENT_BUS):
        assert house.lock(alice).state is EffectState.DONE
    house.host.run("rm", "-r", "/run/systemd", "/run/dbus")
    wait_until(lambda: session.poll() is not None, "the session has ended")
    assert house.prove(alice).proof is Proof.SESSIONS_GONE
    assert not house.sign_in(alice)
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.sign_in(alice)


def test_subordinate_uid_processes_are_ended(house: LinuxHouse, alice: str) -> None:
    """Rootless containers use such ids; the other ids are of other users."""
    mine, bobs, unknown, bob = "3000001", "3000002", "3000003", f"bob-{uuid.uuid4().hex[:8]}"
    house.host.run("sh", "-c", f"echo '{alice}:3000000:65536' >> /etc/subuid")
    house.host.run("useradd", "-M", "-u", bobs, bob)
    with (
        standing_by(house.host, _APART_AS, bobs),
        standing_by(house.host, _AS, unknown),
        standing_by(house.host, _APART_AS, mine),
    ):
        assert house.observe(alice).live_sessions == 1
        house.set_enabled(alice, False)
        assert house.prove(alice).state is EffectState.FAILED
        house.set_enabled(alice, True)
        assert house.lock(alice).state is EffectState.DONE
        assert house.prove(alice).proof is Proof.SESSIONS_GONE
        assert house.host.run("ps", "-o", "pid=", "-u", mine, may_fail=True) == ""
        assert house.host.run("ps", "-o", "pid=", "-u", bobs)
        assert house.host.run("ps", "-o", "pid=", "-u", unknown)


def test_reassigned_name_is_not_changed_or_proven(house: LinuxHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    former = f"was-{uuid.uuid4().hex[:8]}"
    house.host.run("usermod", "-l", former, alice)
    house.host.run("useradd", "-N", alice)
    house.set_enabled(alice, False)
    (locked,) = house.connector.lock([replace(order("lock", alice), prior=before.prior)])
    assert locked.state is EffectState.REFUSED
    (proven,) = house.connector.prove([replace(order("prove", alice), prior=before.prior)])
    assert (proven.state, "another account" in proven.reason) == (EffectState.REFUSED, True)
    assert house.undo(alice, before).state is EffectState.DONE
    assert (house.is_enabled(alice), house.is_enabled(former)) == (False, True)


@pytest.mark.parametrize("heir", ["the same name", "another name"])
def test_recreated_account_with_same_uid_is_refused(
    house: LinuxHouse, alice: str, heir: str
) -> None:
    before = house.observe(alice)
    house.lock(alice)
    house.host.run("userdel", "-r", alice, may_fail=True)  # the account has no mail spool to remove
    name = alice if heir == "the same name" else f"heir-{uuid.uuid4().hex[:8]}"
    house.host.run("useradd", "-m", "-u", str(before.prior["uid"]), name)
    house.set_enabled(name, False)
    shadow = house.stamp(name)
    (locked,) = house.connector.lock([replace(order("lock", name), prior=before.prior)])
    undone = house.undo(alice, before)
    assert (locked.state, undone.state) == (EffectState.REFUSED, EffectState.REFUSED)
    assert "another account" in undone.reason
    assert house.stamp(name) == shadow


def test_undo_restores_the_locked_name(house: LinuxHouse, alice: str) -> None:
    """`toor` is a second account of root's uid, with its own password."""
    other = f"also-{uuid.uuid4().hex[:8]}"
    uid, home = house.observe(alice).prior["uid"], f"/home/{alice}"
    house.host.run("useradd", "-M", "-N", "-o", "-u", str(uid), "-d", home, other)
    house.set_enabled(alice, False)
    before, left_alone = house.observe(other), house.stamp(alice)
    house.lock(other)
    assert not house.is_enabled(other)
    assert house.undo(other, before).state is EffectState.DONE
    assert (house.is_enabled(other), house.stamp(alice)) == (True, left_alone)


def test_without_home_the_name_must_match(house: LinuxHouse) -> None:
    name, heir = (f"homeless-{uuid.uuid4().hex[:8]}" for _ in range(2))
    house.host.run("useradd", "-M", name)
    before = house.observe(name)
    assert before.prior["born"] == "-"
    house.lock(name)
    assert house.undo(name, before).state is EffectState.DONE
    house.lock(name)
    house.host.run("usermod", "-l", heir, name)
    assert house.undo(name, before).state is EffectState.REFUSED
    assert not house.is_enabled(heir)


def test_other_program_version_is_named() -> None:
    old = connect(LinuxConnector, command=("echo", "standfast-accounts 1"))
    with pytest.raises(ConfigurationError, match="wrong version"):
        old.observe(["alice"])


def test_the_connectors_account_can_do_nothing_else(
    house: LinuxHouse, command: tuple[str, ...]
) -> None:
    """The key runs one program, and sudo permits no other."""
    asked = subprocess.run(
        [*command, "cat", "/etc/shadow"], input=b"", capture_output=True, check=False
    )
    assert asked.stdout == b"standfast-accounts 2\n"
    for words in (["id"], ["/usr/local/sbin/standfast-accounts", "with", "words"], ["usermod"]):
        done = house.host.run(
            "runuser", "-u", "standfast", "--", "sudo", "-n", *words, may_fail=True
        )
        assert done == ""
    # The program itself refuses every caller, not only the connector.
    lines = "lock root 0\nlock daemon 1\nundo root 0 0 -\nlock nobody-here 5\n"
    asked = subprocess.run(command, input=lines.encode(), capture_output=True, check=False)
    assert [(line.split() + [""] * 5)[5] for line in asked.stdout.decode().splitlines()[1:]] == [
        "root", "system", "root", ""
    ]  # fmt: skip


def test_bad_name_spoils_no_other(house: LinuxHouse) -> None:
    names = [f"agent-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    for name in names:
        house.add(name)
    asked = [names[0], "no\nbody", "root", *names[1:]]
    results = house.connector.lock([order("lock", name) for name in asked])
    assert [result.state.value for result in results] == [
        "done", "refused", "refused", "done", "done"
    ]  # fmt: skip
    assert not any(house.is_enabled(name) for name in names)
