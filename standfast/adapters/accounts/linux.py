"""Connector for the local accounts of one Linux host, by a root program.

A configured command, ssh as a restricted user or sudo on this host, starts
`deploy/linux/standfast-accounts`. The host permits Standfast to run only this program as root.

Rules
- A lock locks the password and sets an expiry day in the past, because a locked password alone
  still admits SSH keys. Then every process of the account is ended.
- Root, system accounts, the account that the command signs in with, and accounts that are not local
  (LDAP, SSSD) are refused. The program on the host refuses them too.
- The state before a lock is `{"uid", "born", "locked", "expires"}`. An undo finds the account by
  the uid, which a rename does not change, and restores `locked` and `expires` only. If several
  names have the same uid, the undo applies to the name that was locked.
- A uid can be reassigned too. So an account is the same only if its home folder was also created at
  the same time (`born`). If that time is not known, the name must be the same instead. Another
  account with the uid is not locked, tested or unlocked.
- An undo never postpones an expiry day that another administrator set after the lock.
- A name that could not be in a line of /etc/passwd matches no account.
"""

import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from standfast.adapters.accounts import AccountState
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.pooled_connector import PooledConnector, is_text
from standfast.adapters.accounts.base.results import (
    ABSENT,
    PRIOR_UNKNOWN,
    SOMEONE_ELSE,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.adapters.clients.connection_pool import Dialect
from standfast.config.sections.account_servers import LinuxDirectoryConfig
from standfast.errors import ConfigurationError, StandfastError, Unavailable
from standfast.records import JsonObject, Order, Proof, Result
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import BoundedCall

_GREETING = "standfast-accounts 2"
_NEVER = "-"
_LOCKED = "1"  # the expiry day that a lock writes
_NOT_KNOWN = "-"
_NAME = re.compile(r"[^\s:/,\x00-\x1f\x7f-][^\s:/\x00-\x1f\x7f]*")
_ANSWER = re.compile(
    r"ok (\d+) ([01]) (-|\d+) (\d+) (-|root|system|ours|shadow) (-|\d+\.\d+) (\S+)"
)
_ENDS_SOONER = (
    "somebody set an earlier expiry day after the lock. Ask them, and unlock the account on the "
    "host."
)
_OBSTACLES = {
    "-": "",
    "root": "root is never locked. Ask another administrator of the host to lock it.",
    "system": "system accounts are never locked, because services run as them",
    "ours": "the connector signs in with this account and would lock itself out.",
    "shadow": "the account has no line in /etc/shadow. Lock it in its own directory.",
}


class _Broken(Exception):
    """The program on the host ended, or sent an invalid line."""


class Talk:
    """The running program on the host; for one thread at a time."""

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may contain names
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            start_new_session=True,  # otherwise Control-C would interrupt a lock
        )
        # Only this timer ends a program that does not greet in time.
        patience = threading.Timer(seconds, self.cut)
        patience.daemon = True
        patience.start()
        try:
            self._expect_greeting()
        except BaseException:
            self.cut()
            self.close()
            raise
        finally:
            patience.cancel()

    def ask(self, *words: str) -> str:
        """Send one line and return the line that answers it."""
        if self._process.stdin is None:
            raise _Broken
        self._process.stdin.write(" ".join(words) + "\n")
        return self._read_line()

    def close(self) -> None:
        """Close the program's pipes; kill the program if it does not end."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # unsent data is discarded
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.cut()
            self._process.wait()

    def cut(self) -> None:
        """End the program from another thread, which wakes a waiting `ask`."""
        self._process.kill()

    def _expect_greeting(self) -> None:
        greeting = self._read_line()
        if greeting.startswith(_GREETING[:-1]) and greeting != _GREETING:
            raise ConfigurationError(
                "program on the host: wrong version. Install the version in deploy/linux."
            )
        if greeting != _GREETING:
            raise _Broken

    def _read_line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line.endswith("\n"):
            raise _Broken
        return line.rstrip("\n")


@dataclass(frozen=True, kw_only=True)
class _Account:
    uid: int
    is_locked: bool
    expires: str  # expiry day, in days since 1970; or _NEVER
    processes: int
    obstacle: str
    born: str  # the time at which the home folder was created, or _NOT_KNOWN
    name: str

    def is_from(self, prior: JsonObject, name: str) -> bool:
        """Return whether `prior` is an earlier state of this account."""
        if prior.get("uid") != self.uid:
            return False
        born = prior.get("born", _NOT_KNOWN)
        if _NOT_KNOWN in (born, self.born):
            return self.name == name
        return self.born == born

    def is_enabled(self, today: int) -> bool:
        return self.expires == _NEVER or int(self.expires) > today

    def ends_sooner_by_others(self, expires: str) -> bool:
        """Return whether somebody else set an expiry day before `expires`."""
        if self.expires in (_NEVER, _LOCKED, expires):
            return False
        return expires == _NEVER or int(expires) > int(self.expires)


class LinuxConnector(PooledConnector[Talk]):
    """Connector of the local accounts of one host."""

    proof = Proof.SESSIONS_GONE
    identity = ("uid",)
    irreversible = ("processes that were ended do not come back; what they had not saved is lost",)

    def __init__(self, name: str, settings: LinuxDirectoryConfig, context: BuildContext) -> None:
        self._clock = context.clock
        super().__init__(
            name,
            limits_of(settings, batch=settings.batch),
            Dialect(
                connect=lambda seconds: Talk(settings.command, seconds),
                disconnect=Talk.close,
                cut=Talk.cut,
                explain=_explain,
            ),
        )

    def _look_on(self, connection: Talk, names: Sequence[str]) -> list[AccountState]:
        return [self._state(name, _look(connection, name)) for name in names]

    def _lock_on(
        self, connection: Talk, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        return [self._change_one("lock", connection, bounded_call, order) for order in orders]

    def _revoke_on(
        self, connection: Talk, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        return [self._change_one("revoke", connection, bounded_call, order) for order in orders]

    def _prove_on(
        self, connection: Talk, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        return [self._prove_one(connection, order) for order in orders]

    def _undo_on(
        self, connection: Talk, bounded_call: BoundedCall, orders: Sequence[Order]
    ) -> list[Result]:
        return [self._undo_one(connection, bounded_call, order) for order in orders]

    # One account.

    def _state(self, name: str, account: _Account | None) -> AccountState:
        if account is None:
            return AccountState(name=name, exists=False)
        return AccountState(
            name=name,
            exists=True,
            is_enabled=account.is_enabled(self._today()),
            live_sessions=account.processes,
            prior={
                "uid": account.uid,
                "born": account.born,
                "locked": account.is_locked,
                "expires": account.expires,
            },
            obstacle=_OBSTACLES[account.obstacle],
        )

    def _change_one(self, verb: str, talk: Talk, bounded_call: BoundedCall, order: Order) -> Result:
        before = _look(talk, order.target)
        if before is None:
            return refused(order, ABSENT)
        if _is_someone_else(before, order):
            return refused(order, SOMEONE_ELSE)
        if before.obstacle != "-":
            return refused(order, _OBSTACLES[before.obstacle])
        bounded_call.begin(order.token)
        after = _read(talk.ask(verb, order.target, str(before.uid)))
        if after is None:
            return refused(order, ABSENT)
        if verb == "lock" and not (after.is_locked and after.expires == _LOCKED):
            return failed(order, "the host did not lock the account. Check its log.")
        if after.processes and not after.is_enabled(self._today()):
            return unknown(order, "a process of the account has not ended yet")
        return done(order, was_changed=before != after, uid=after.uid)

    def _prove_one(self, talk: Talk, order: Order) -> Result:
        account = _look(talk, order.target)
        if account is None:
            return refused(order, ABSENT)
        if _is_someone_else(account, order):
            return refused(order, SOMEONE_ELSE)
        if account.is_enabled(self._today()):
            return failed(
                order, "the account has not expired, so its keys are valid. Lock it again."
            )
        if account.processes:
            return failed(order, "the account is locked, but has a process. Lock it again.")
        return proven(order, Proof.SESSIONS_GONE)

    def _undo_one(self, talk: Talk, bounded_call: BoundedCall, order: Order) -> Result:
        prior = _prior(order.prior)
        if prior is None or order.prior is None:
            return refused(order, PRIOR_UNKNOWN)
        uid, was_locked, expires = prior
        before = _look(talk, order.target)
        if before is None or not before.is_from(order.prior, order.target):
            before = _read(talk.ask("whose", str(uid)))
        if before is None:
            return refused(order, ABSENT)
        if not before.is_from(order.prior, order.target):
            return refused(order, SOMEONE_ELSE)
        if (before.is_locked, before.expires) == (was_locked, expires):
            return done(order, was_changed=False, uid=uid)
        if before.ends_sooner_by_others(expires):
            return refused(order, _ENDS_SOONER)
        if before.obstacle != "-":
            return refused(order, _OBSTACLES[before.obstacle])
        bounded_call.begin(order.token)
        after = _read(talk.ask("undo", before.name, str(uid), "1" if was_locked else "0", expires))
        if after is None:
            return refused(order, ABSENT)
        if (after.is_locked, after.expires) != (was_locked, expires):
            return failed(order, "the host did not restore the prior state. Check its log.")
        return done(order, was_changed=True, uid=uid)

    def _today(self) -> int:
        return int(self._clock().timestamp()) // 86_400


def _look(talk: Talk, name: str) -> _Account | None:
    if not _NAME.fullmatch(name) or not is_text(name):
        return None
    return _read(talk.ask("observe", name))


def _read(answer: str) -> _Account | None:
    """Parse one answer of the program; None for a missing account."""
    if answer == "absent":
        return None
    found = _ANSWER.fullmatch(answer)
    if found is None:
        raise _Broken
    uid, locked, expires, processes, obstacle, born, name = found.groups()
    return _Account(
        uid=int(uid),
        is_locked=locked == "1",
        expires=expires,
        processes=int(processes),
        obstacle=obstacle,
        born=born,
        name=name,
    )


def _is_someone_else(account: _Account, order: Order) -> bool:
    prior = order.prior or {}
    return "uid" in prior and not account.is_from(prior, order.target)


def _prior(prior: JsonObject | None) -> tuple[int, bool, str] | None:
    match prior:
        case {"uid": int() as uid, "locked": bool() as locked, "expires": str() as expires}:
            if not isinstance(uid, bool) and re.fullmatch(r"-|\d+", expires):
                return uid, locked, expires
    return None


def _explain(error: Exception) -> StandfastError | None:
    if isinstance(error, FileNotFoundError | PermissionError):
        return ConfigurationError(
            "command of the directory: cannot be started here. Check `command`."
        )
    if isinstance(error, _Broken | OSError):
        return Unavailable(
            "the program on the host does not answer. Check the command, the host's key, our key, "
            "and the rule in sudoers.",
            retry_after_seconds=RETRY_SECONDS,
        )
    return None
