"""Roles of `standfast serve`: the work that a process runs.

Rules
- Without `--role`, a process does everything for which its configuration has a schedule.
- A drill machine (`--role drills`) opens backups. So it schedules no backup, verification or
  retention run, resumes no incident, listens at no port, and needs no secret of a response.
- Only a process that does everything counts as a live `serve` in `status` and `check`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from standfast.errors import ConfigurationError

if TYPE_CHECKING:
    from standfast.config import Config  # the command's help imports this module


@dataclass(frozen=True, kw_only=True)
class Role:
    """The work of one process of `standfast serve`."""

    way: str  # of its runner in the ledger
    backs_up: bool  # schedules nightly backups and catches them up
    task_kinds: frozenset[str]  # of the scheduled tasks (`maintenance_schedule`)
    responds: bool  # resumes incidents, stamps their evidence, and listens
    needs_identity: bool  # `drills.identity`


EVERYTHING = Role(
    way="serve",
    backs_up=True,
    task_kinds=frozenset({"keep", "look", "read", "drill"}),
    responds=True,
    needs_identity=False,
)
ROLES = {
    "drills": Role(
        way="serve drills",
        backs_up=False,
        task_kinds=frozenset({"drill"}),
        responds=False,
        needs_identity=True,
    )
}  # by the value of `--role`


def role_named(name: str | None) -> Role:
    """Return the role of this name; without a name, everything."""
    return EVERYTHING if name is None else ROLES[name]


def check_role(role: Role, config: "Config") -> None:
    """Raise ConfigurationError if the configuration lacks what a role needs."""
    if role.needs_identity and config.drills.identity is None:
        raise ConfigurationError(
            "drills.identity: it is not set, and this machine only drills. Set it to an identity "
            "that opens the backups (docs/roles.md)."
        )
