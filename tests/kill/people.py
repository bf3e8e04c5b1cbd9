"""Agents of a call centre in OpenLDAP, which counts changes to them.

Its audit log (slapo-auditlog) has each change that took effect, and nothing else. A sign-in is a
real bind with the password that the intruder has.
"""

import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.adapters.accounts.rights import block
from tests.servers.slapd import SUFFIX, Slapd, running_slapd

CONNECTOR = f"cn=standfast,ou=services,{SUFFIX}"
PASSWORD = "of-the-connector"
_COUNTED = """
dn: cn=module{{0}},cn=config
changetype: modify
add: olcModuleLoad
olcModuleLoad: auditlog

dn: olcOverlay=auditlog,olcDatabase={{1}}mdb,cn=config
changetype: add
objectClass: olcOverlayConfig
objectClass: olcAuditlogConfig
olcOverlay: auditlog
olcAuditlogFile: {log}
"""
_CHANGED = re.compile(rf"^dn: uid=(\w+),ou=people,{SUFFIX}\nchangetype: modify$", re.MULTILINE)
_LOCKS = re.compile(r"^(add|replace): pwdAccountLockedTime\npwdAccountLockedTime: ", re.MULTILINE)
_UNLOCKS = re.compile(r"^(delete|replace): pwdAccountLockedTime\n-", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Number of effective changes of an account."""

    locks: int
    unlocks: int


@dataclass(frozen=True, kw_only=True)
class Agents:
    """All agents of the directory."""

    slapd: Slapd
    log: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def hire(self, count: int) -> list[str]:
        """Add agents with new names; return the names."""
        names = [f"agent{next(self._numbers)}" for _ in range(count)]
        for name in names:
            self.slapd.add(name)
        return names

    def signs_in(self, name: str) -> bool:
        """Return whether the old password still permits a sign-in."""
        return self.signs_in_with(name, "right")

    def signs_in_with(self, name: str, password: str) -> bool:
        """Return whether a password permits a sign-in."""
        connection = self.slapd.connect(_dn(name), password)
        if connection is None:
            return False
        connection.unbind()
        return True

    def changes(self, name: str) -> Changes:
        """Count the locks and unlocks of one agent that took effect."""
        head = f"\ndn: {_dn(name)}\nchangetype: modify\n"
        parts = self.log.read_text().split(head)[1:]
        ours = [part.split("\n\n", 1)[0] for part in parts]
        return Changes(
            locks=sum(bool(_LOCKS.search(one)) for one in ours),
            unlocks=sum(bool(_UNLOCKS.search(one)) for one in ours),
        )

    def locks(self) -> Counter[str]:
        """Count the locks that took effect, by agent."""
        found: Counter[str] = Counter()
        for part in self.log.read_text().split("\n\n"):
            if (changed := _CHANGED.search(part)) and _LOCKS.search(part):
                found[changed[1]] += 1
        return found


@contextmanager
def running_directory() -> Iterator[Agents]:
    """Run the directory, with the documented account of the connector."""
    with tempfile.TemporaryDirectory() as folder, running_slapd() as slapd:
        slapd.apply(block("openldap", "the connector's account").replace("…", PASSWORD))
        slapd.apply(block("openldap", "the rights to see names"), to_configuration=True)
        log = Path(folder) / "audit.ldif"
        slapd.apply(_COUNTED.format(log=log), to_configuration=True)
        yield Agents(slapd=slapd, log=log)


def _dn(name: str) -> str:
    return f"uid={name},ou=people,{SUFFIX}"
