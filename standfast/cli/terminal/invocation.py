"""Object of each click context: configuration, environment and output.

`standfast.cli.app` creates the object and sets the output format from `--json`. The callbacks of
other options, such as `-c`, replace its fields.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.cli.terminal.output import Line, ShowProgress, print_json, print_lines, progress
from standfast.config_file import find_config
from standfast.errors import ExitStatus
from standfast.records import JsonObject

if TYPE_CHECKING:
    from standfast.config import Config
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.key_ceremonies.owner_operations import Stores

PROGRAM = "standfast"
COMPLETION_VARIABLE = "_STANDFAST_COMPLETE"  # click derives it from the program's name


@dataclass(frozen=True, kw_only=True)
class Call:
    """One invocation of a command: configuration, output format, sign-in."""

    config: Path | None
    as_json: bool
    env: Mapping[str, str] = field(repr=False)
    as_person: str | None = None
    passphrase_file: Path | None = None
    no_wait: bool = False

    @property
    def config_file(self) -> Path:
        """The path of the configuration; ConfigurationError if there is none."""
        return find_config(self.config, self.env)

    @contextmanager
    def installation(self, *, needs_ledger: bool = True) -> Iterator["Installation"]:
        """Open the installation.

        Without `needs_ledger`, an error of the ledger (database) is raised at the first query.
        """
        from standfast.usecases.setup.installation_opening import open_installation

        with open_installation(
            self.config_file, env=self.env, needs_ledger=needs_ledger
        ) as installation:
            yield installation

    def stores(self) -> "Stores":
        """Open the vault (the backups) and its key store, without the ledger."""
        from standfast.usecases.key_ceremonies.owner_operations import open_stores

        return open_stores(self.config_file, self.env)

    def config_if_any(self) -> "Config | None":
        """Load the configuration; None if there is no configuration file.

        A file that `-c` or the environment names, and that is missing, is an error.
        """
        from standfast.config import load
        from standfast.config_file import DEFAULT_FILE, VARIABLE

        if self.config is None and not self.env.get(VARIABLE) and not Path(DEFAULT_FILE).exists():
            return None
        return load(self.config_file)

    def print_result(
        self, document: JsonObject, lines: Iterable[Line], status: ExitStatus | None = None
    ) -> ExitStatus:
        """Print the document with `--json`, the lines otherwise.

        Returns the status, which is added to the document; without a status, returns DONE.
        """
        if not self.as_json:
            print_lines(lines)
        elif status is None:
            print_json(document)
        else:
            print_json({**document, "exit_status": int(status)})
        return ExitStatus.DONE if status is None else status

    @contextmanager
    def progress(self) -> Iterator[ShowProgress]:
        """Show the progress of long work on a terminal."""
        with progress() as show_progress:
            yield show_progress
