"""Settings of continuity, `[continuity]`: attestations and their calendar.

An attestation is a person's signed statement that work was done, such as a test of the telephones.
"""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.sections.monitoring import DrillName
from standfast.config.value_types import Days, Line, Name, RoleOrPerson

# The points that auditors of contact centres ask for; each is also a subject of attestations.
CHECKLIST: Mapping[str, str] = {
    "encryption": "Stored and transmitted data is encrypted",
    "updates": "Security updates are installed in time",
    "access": "People have only the access that their work needs",
    "leavers": "Access of leavers is removed",
    "session-timeouts": "Idle sessions end",
    "masking": "Card numbers and other sensitive numbers are masked",
    "stored-data": "Critical data is stored only where it is needed",
    "backups": "Backups are complete and recent",
    "mfa": "Sign-ins need a second factor",
    "firewalls": "Firewalls and intrusion detection work",
    "malware": "Systems are scanned for malware",
    "training": "Staff are trained",
    "remote-work": "Remote workplaces are checked",
    "recovery": "Recovery is tested",
}


class CalendarEntryConfig(Section):
    """A drill, exercise or attestation that recurs, with its owner."""

    kind: Literal["drill", "exercise", "attestation"] = Field(
        description="The kind of practice that recurs.", examples=["attestation"]
    )
    subject: DrillName = Field(
        description="For a drill, the backup set, or `service.` and the service; for an "
        "exercise, the playbook; for an attestation, its subject.",
        examples=["training"],
    )
    every_days: Days = Field(
        description="The maximum number of days between two occurrences.", examples=[180]
    )
    owner: RoleOrPerson = Field(
        description="The role, or `person:` and a sign-in name, that is notified when the entry "
        "is overdue.",
        examples=["duty-manager", "person:dana"],
    )
    escalates_to: RoleOrPerson | None = Field(
        default=None,
        description="The role or person that is notified after the owner. Default: nobody.",
        examples=["person:lee"],
    )
    escalates_after_days: Days = Field(
        default=7,
        description="The days between the notification of the owner and that of `escalates_to`.",
        examples=[14],
    )


class ContinuityConfig(Section):
    """Attestations, and the calendar of drills, exercises and attestations."""

    subjects: Mapping[Name, Line] = Field(
        default={},
        description="Further subjects of attestations, by name, in addition to the points of "
        "the checklist in docs/continuity.md.",
        examples=[{"device-review": "Devices of agents are reviewed"}],
    )
    calendar: Mapping[Name, CalendarEntryConfig] = Field(
        default={}, description="Drills, exercises and attestations that recur, by name."
    )

    @property
    def all_subjects(self) -> Mapping[str, str]:
        """Return the title of each subject: the checklist, then your own."""
        return {**self.subjects, **CHECKLIST}
