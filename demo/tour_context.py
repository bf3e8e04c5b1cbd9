"""What the chapters of the tour share: the place, its centre, the engine, and what must be true.

Rules
- A chapter believes nothing: what the program says it did is looked up past it, in the directory,
  in the mailbox, on disk (`expect`). What is not as it must be ends the tour, and its status says
  so.
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
class Night:
    """One run of the tour."""

    folder: Path
    centre: CallCentre
    accounts: Accounts
    engine: Engine
    teller: TourOutput

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
        """Open the place as a command would."""
        with open_installation(self.config_file, env={}) as installation:
            yield installation

    def mail(self) -> Counter[str]:
        """Count the messages that lie in the mailbox, by whom they are for."""
        return Counter(address for address, _ in mail_server.delivered(self.folder / MAILBOX))

    def locked(self) -> set[str]:
        """Ask the directory which accounts are not active."""
        return {name for name, is_active in self.accounts.active().items() if not is_active}


def expect(is_so: bool, what: str) -> None:
    """Go on when it is so; StandfastError says what was expected."""
    if not is_so:
        raise StandfastError(
            f"the demo is not as it must be: {what}; the place is left as it is, look at it with "
            "`standfast status`"
        )
