"""Shared context of chapters: installation, centre, engine, checks.

Rules
- A chapter checks every result of Standfast without Standfast: in the directory, in the mailbox and
  on the disk. `expect` fails such a check, which ends the tour with an exit status other than 0.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo import mail_server
from demo.call_centre import CallCentre
from demo.prefect_engine import Engine
from demo.server_processes import MAILBOX, Accounts
from demo.tour_output import TourOutput
from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.setup.new_installation import IDENTITY_FILE, OFFLINE

OPERATOR, MANAGER = "dana", "lee"
PASSPHRASES = {OPERATOR: "three lamps on the harbour", MANAGER: "an orchard under first snow"}


@dataclass(frozen=True, kw_only=True)
class TourContext:
    """One run of the tour."""

    folder: Path
    centre: CallCentre
    accounts: Accounts
    engine: Engine
    output: TourOutput

    @property
    def config_file(self) -> Path:
        return self.folder / "standfast.toml"

    @property
    def identity_file(self) -> Path:
        return self.folder / OFFLINE / IDENTITY_FILE

    @property
    def taken_over_file(self) -> Path:
        return self.folder / "taken-over.txt"

    @property
    def page(self) -> Path:
        return self.folder / "result.html"

    @contextmanager
    def installation(self) -> Iterator[Installation]:
        """Open the installation as a command would."""
        with open_installation(self.config_file, env={}) as installation:
            yield installation

    def mail(self) -> Counter[str]:
        """Count the messages in the mailbox, by recipient."""
        return Counter(address for address, _ in mail_server.delivered(self.folder / MAILBOX))

    def locked(self) -> set[str]:
        """Return the accounts that are not active in the directory."""
        return {name for name, is_active in self.accounts.active().items() if not is_active}


def expect(is_so: bool, expectation: str) -> None:
    """Raise StandfastError with the expectation if it is not met."""
    if not is_so:
        raise StandfastError(
            f"a check of the demo failed. Expected: {expectation}. The installation is kept; "
            "inspect it with `standfast status`"
        )
