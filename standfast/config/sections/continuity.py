"""Settings of continuity, `[continuity]`: subjects of attestations."""

from collections.abc import Mapping

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import Line, Name

# Points of the contact-centre checklist, which are also subjects of attestations.
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


class ContinuityConfig(Section):
    """Practice that people attest, because the program cannot measure it."""

    subjects: Mapping[Name, Line] = Field(
        default={},
        description="Further subjects of attestations, by name, in addition to the points of "
        "the checklist in docs/continuity.md.",
        examples=[{"device-review": "Devices of agents are reviewed"}],
    )

    @property
    def all_subjects(self) -> Mapping[str, str]:
        """Return the title of each subject: the checklist, then your own."""
        return {**self.subjects, **CHECKLIST}
