"""Roles of `standfast serve`: the work that a process runs.

Rules
- Without `--role`, or with `all`, a process does everything for which its configuration has a
  schedule. With the other roles, this work is divided among processes and hosts. Several roles on
  one machine need a Prefect that they share (`serve.prefect`).
- A drill machine (`--role drills`) makes test restores. Its private key can open backups. Therefore
  it schedules no backup, verification or retention run, resumes no incident, and listens on no
  port. It needs none of the secrets with which other roles respond to incidents.
- Each process that listens or resumes incidents sends pages (messages to people on call), call-outs
  (repeated pages) and events of incidents to other systems. Thus they are sent even if the only
  process that listens is lost.
- `standfast status` and `standfast check` report a running `serve` only if a process resumes
  incidents.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from standfast.errors import ConfigurationError
from standfast.records import serve_way

if TYPE_CHECKING:
    from standfast.config import Config  # the command's help imports this module


@dataclass(frozen=True, kw_only=True)
class Role:
    """The work of one process of `standfast serve`."""

    way: str  # name of this kind of process in the ledger (the database)
    backs_up: bool = False  # schedules nightly backups and starts missed ones
    task_kinds: frozenset[str] = frozenset()  # kinds of scheduled tasks (`maintenance_schedule`)
    responds: bool = False  # resumes incidents, requests time stamps, records readiness
    watches: bool = False  # sends alarms; a drill machine sends only alarms about drills
    listens: bool = False  # console, triggers, metrics
    needs_identity: bool = False  # `drills.identity`

    @property
    def is_scheduled(self) -> bool:
        """Return whether Prefect starts work of this role."""
        return self.backs_up or bool(self.task_kinds)

    @property
    def sends_pages(self) -> bool:
        """Return whether this role sends pages and events of incidents."""
        return self.listens or self.responds

    @property
    def only_drills(self) -> bool:
        """Return whether the scheduled work of this role is drills only."""
        return self.task_kinds == _DRILLS


_DRILLS = frozenset({"drill"})
_UPKEEP = frozenset({"keep", "look", "read"})
EVERYTHING = Role(
    way=serve_way("all"),
    backs_up=True,
    task_kinds=_UPKEEP | _DRILLS,
    responds=True,
    watches=True,
    listens=True,
)
ROLES = {
    "all": EVERYTHING,
    "api": Role(way=serve_way("api"), listens=True),
    "watch": Role(way=serve_way("watch"), watches=True),
    "respond": Role(way=serve_way("respond"), responds=True),
    "worker": Role(way=serve_way("worker"), backs_up=True, task_kinds=_UPKEEP, watches=True),
    "drills": Role(way=serve_way("drills"), task_kinds=_DRILLS, watches=True, needs_identity=True),
}  # roles by the value of `--role`


def role_named(name: str | None) -> Role:
    """Return the role of this name; without a name, everything."""
    return ROLES[name or "all"]


def check_role(role: Role, config: "Config") -> None:
    """Raise ConfigurationError if the configuration lacks what a role needs."""
    if role.needs_identity and config.drills.identity is None:
        raise ConfigurationError(
            "drills.identity: it is not set, and this machine only drills. Set it to an identity "
            "that opens the backups (docs/roles.md)."
        )
