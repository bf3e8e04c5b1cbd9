"""The playbooks of a place: the shipped ones, and its own before them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from standfast.config import Config
from standfast.errors import (
    ConfigurationError,
    PlaybookInvalid,
    Problem,
    UsageError,
)
from standfast.notices.template_folder import template_names
from standfast.playbook.cacao import is_cacao
from standfast.playbook.model import Playbook
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.validation.playbook_rules import Known, check
from standfast.suggestions import known_names_hint

SHIPPED = Path(__file__).parents[3] / "playbooks"  # beside the package, in a wheel too

_ENDINGS = (".yaml", ".yml", ".json")


def files(config: Config | None) -> Mapping[str, Path]:
    """Give every playbook's file by its name; the place's own replace shipped ones.

    Hidden files are none: an editor keeps its locks and copies in them.
    """
    own = config.playbooks.folder if config else None
    if own is not None and not own.is_dir():
        raise ConfigurationError(f"there is no playbook folder {own}; create it or name another")
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    found |= {path.stem: path for path in sorted(own.glob("[!.]*.y*ml"))} if own else {}
    return found


def find(config: Config | None, scenario: str, *, is_rehearsed: bool = False) -> Playbook:
    """Give a playbook that is sound here; PlaybookInvalid names every reason why it is not.

    One that is only rehearsed may name what an exercise stands in for.
    """
    there = files(config)
    if scenario not in there:
        is_file = "/" in scenario or scenario.endswith(_ENDINGS)
        hint = " (a file is carried out by its name, once `playbooks.folder` holds it)"
        raise UsageError(
            f"there is no playbook {scenario!r}{hint * is_file}; "
            f"{known_names_hint(scenario, there)}"
        )
    playbook = read(there[scenario])
    here = known(config)
    if is_rehearsed:
        here = replace(here, audiences=None, senders=None, commands=None, requests=None)
    if problems := check(playbook, here):
        raise PlaybookInvalid(problems)
    return playbook


def read(path: Path) -> Playbook:
    """Read one file; PlaybookInvalid when it is no playbook."""
    return _read(text_of(path), str(path))


@lru_cache(maxsize=64)  # a trigger's message is answered at once, and asks for it twice
def _read(text: str, file: str) -> Playbook:
    if is_cacao(text):
        from standfast.playbook.cacao.importer import import_cacao

        return load(import_cacao(text, file).text, file)
    return load(text, file)


def named(config: Config | None, name: str) -> Path:
    """Give the file of a playbook that is named, or is the path of one; UsageError for neither."""
    if name.endswith(_ENDINGS) or "/" in name:
        return Path(name)
    there = files(config)
    if name not in there:
        raise UsageError(
            f"there is no playbook {name!r} (a file is named with its ending: ./mine.yaml); "
            f"{known_names_hint(name, there)}"
        )
    return there[name]


def text_of(path: Path) -> str:
    """Read a file; PlaybookInvalid when it is no UTF-8, or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        why = "is not UTF-8"
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    raise PlaybookInvalid([Problem(file=str(path), line=0, message=why)])


def known(config: Config | None) -> Known:
    """Say what a playbook may name here; without a place nothing of it is checked."""
    if config is None:
        return Known()
    return Known(
        templates=template_names(config.notices.templates),
        audiences=frozenset(config.audiences) | _staff(config),
        staff=staff_audiences(config),
        sources=frozenset(config.evidence),
        senders=frozenset(config.senders),
        commands=frozenset(config.commands),
        requests=frozenset(config.requests),
        irreversible=frozenset(_irreversible(config)),
        services=frozenset(config.services),
        sets=frozenset(config.backup.sets),
        playbooks=frozenset(files(config)),
    )


def staff_audiences(config: Config) -> frozenset[str]:
    """Return the names under which a playbook means the own staff."""
    return frozenset(filter(None, ("staff", config.notices.staff_audience)))


def _irreversible(config: Config) -> Iterator[str]:
    """Return the commands and requests that change something and have no undo."""
    for name, command in config.commands.items():
        if not (command.undo or command.changes_nothing):
            yield f"commands.{name}"
    for name, request in config.requests.items():
        if not (request.undo or request.changes_nothing or request.method == "GET"):
            yield f"requests.{name}"


def adapters(config: Config) -> list[str]:
    """Name every adapter of the place, for the incident to freeze."""
    return [
        f"{section}.{name}"
        for section in ("accounts", "evidence", "senders", "commands", "requests")
        for name in getattr(config, section)
    ]


def _staff(config: Config) -> frozenset[str]:
    return frozenset({"staff"} if config.notices.staff_audience else ())
