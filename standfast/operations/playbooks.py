"""The playbooks of a place: the shipped ones, and its own before them."""

from collections.abc import Mapping
from pathlib import Path

from standfast.config import Config
from standfast.errors import ConfigurationError, PlaybookInvalid, Problem, UsageError
from standfast.notices.folder import read_templates
from standfast.playbook.check import Known, check
from standfast.playbook.load import load
from standfast.playbook.model import Playbook

SHIPPED = Path(__file__).parents[2] / "playbooks"  # beside the package, in a wheel too


def files(config: Config | None) -> Mapping[str, Path]:
    """Give every playbook's file by its name; the place's own replace shipped ones."""
    own = config.playbooks.folder if config else None
    if own is not None and not own.is_dir():
        raise ConfigurationError(f"there is no playbook folder {own}; create it or name another")
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    found |= {path.stem: path for path in sorted(own.glob("*.yaml"))} if own else {}
    return found


def find(config: Config | None, scenario: str) -> Playbook:
    """Give a playbook that is sound here; PlaybookInvalid names every reason why it is not."""
    there = files(config)
    if scenario not in there:
        raise UsageError(
            f"there is no playbook {scenario!r}; there are: {', '.join(sorted(there))}"
        )
    playbook = read(there[scenario])
    if problems := check(playbook, known(config)):
        raise PlaybookInvalid(problems)
    return playbook


def read(path: Path) -> Playbook:
    """Read one file; PlaybookInvalid when it is no playbook."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        raise PlaybookInvalid([Problem(file=str(path), line=0, message="is not UTF-8")]) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return load(text, str(path))


def known(config: Config | None) -> Known:
    """Say what a playbook may name here; without a place nothing of it is checked."""
    if config is None:
        return Known()
    return Known(
        templates=frozenset(read_templates(config.notices.templates)),
        audiences=frozenset(config.audiences) | _staff(config),
        sources=frozenset(config.evidence),
        senders=frozenset(config.senders),
    )


def adapters(config: Config) -> list[str]:
    """Name every adapter of the place, for the incident to freeze."""
    return [
        f"{section}.{name}"
        for section in ("accounts", "evidence", "senders")
        for name in getattr(config, section)
    ]


def _staff(config: Config) -> frozenset[str]:
    return frozenset({"staff"} if config.notices.staff_audience else ())
