"""Library of playbooks, own and shipped: search, names they may use.

A playbook is the file that describes the response to one kind of incident. Own playbooks are files
in the configured folder; shipped playbooks are part of Standfast. The names in a playbook, such as
those of commands and senders (adapters of message channels), must exist in the configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from standfast.config import Config
from standfast.errors import ConfigurationError, PlaybookInvalid, Problem, UsageError
from standfast.notices.template_folder import template_names
from standfast.playbook.cacao import is_cacao
from standfast.playbook.cacao.importer import import_cacao
from standfast.playbook.model import Playbook
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.validation.playbook_rules import Known, check
from standfast.suggestions import known_names_hint

SHIPPED = Path(__file__).parents[3] / "playbooks"  # next to the package, in a wheel as well

_ENDINGS = (".yaml", ".yml", ".json")


def files(config: Config | None) -> Mapping[str, Path]:
    """Return all playbook files by name; own files replace shipped files.

    Hidden files are ignored, because editors store locks and copies in them.
    """
    own = config.playbooks.folder if config else None
    if own is not None and not own.is_dir():
        raise ConfigurationError(f"playbook folder {own}: not found. Create it, or name another.")
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    found |= {path.stem: path for path in sorted(own.glob("[!.]*.y*ml"))} if own else {}
    return found


def find(config: Config | None, scenario: str, *, is_rehearsed: bool = False) -> Playbook:
    """Return a playbook that is valid with this configuration.

    Raise PlaybookInvalid with all problems. With `is_rehearsed`, the playbook is for an exercise:
    it may name recipients, senders, commands and requests that are not configured, because they are
    simulated.
    """
    known_files = files(config)
    if scenario not in known_files:
        is_file = "/" in scenario or scenario.endswith(_ENDINGS)
        hint = " (to run a file, copy it into `playbooks.folder`, then use its name)"
        raise UsageError(
            f"playbook {scenario!r}: unknown{hint * is_file}; "
            f"{known_names_hint(scenario, known_files)}"
        )
    playbook = read(known_files[scenario])
    names = known_names(config)
    if is_rehearsed:
        names = replace(names, audiences=None, senders=None, commands=None, requests=None)
    if problems := check(playbook, names):
        raise PlaybookInvalid(problems)
    return playbook


def read(path: Path) -> Playbook:
    """Read one file; raise PlaybookInvalid for an invalid playbook."""
    return _read(text_of(path), str(path))


@lru_cache(maxsize=64)  # each alert from another program reads its playbook twice
def _read(text: str, file: str) -> Playbook:
    if is_cacao(text):
        return load(import_cacao(text, file).text, file)
    return load(text, file)


def find_file(config: Config | None, name: str) -> Path:
    """Return the file of a playbook, by name or path.

    Raise UsageError for an unknown name.
    """
    if name.endswith(_ENDINGS) or "/" in name:
        return Path(name)
    known_files = files(config)
    if name not in known_files:
        raise UsageError(
            f"playbook {name!r}: unknown (name a file with its ending: ./mine.yaml); "
            f"{known_names_hint(name, known_files)}"
        )
    return known_files[name]


def text_of(path: Path) -> str:
    """Read a text file in UTF-8; raise PlaybookInvalid if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        why = "is not UTF-8"
    except OSError as error:
        why = f"cannot be read: {error.strerror}. Check the path"
    raise PlaybookInvalid([Problem(file=str(path), line=0, message=why)])


def known_names(config: Config | None) -> Known:
    """Return the names that playbooks may use.

    Without a configuration, all names are allowed.
    """
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
    """Return the names of the audiences that are the organisation's own staff.

    An audience is the configured list of recipients of a message.
    """
    return frozenset(filter(None, ("staff", config.notices.staff_audience)))


def _irreversible(config: Config) -> Iterator[str]:
    """Yield the commands and requests that change something and have no undo."""
    for name, command in config.commands.items():
        if not (command.undo or command.changes_nothing):
            yield f"commands.{name}"
    for name, request in config.requests.items():
        if not (request.undo or request.changes_nothing or request.method == "GET"):
            yield f"requests.{name}"


def adapters(config: Config) -> list[str]:
    """Return the names of all adapters, which connect to external systems.

    An incident stores these names when it is opened, and later uses no other adapters.
    """
    return [
        f"{section}.{name}"
        for section in ("accounts", "evidence", "senders", "commands", "requests")
        for name in getattr(config, section)
    ]


def _staff(config: Config) -> frozenset[str]:
    return frozenset({"staff"} if config.notices.staff_audience else ())
