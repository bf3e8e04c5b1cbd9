"""List of all copies of the key records, stored in each copy.

- A key record is the private key of a domain (backup sets that share one key), encrypted to the
  people that can decrypt backups. A copy is a folder with key records below `k/`. Its file
  `k/.copies.json` has the name of this copy and the names of all known copies. So the list is lost
  only together with the key records.
- `standfast status` reads the list and must start quickly, so this module imports no large library.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backup.errors import Damaged, NotFound, UsageError
from backup.system.durable_files import read_file, replace_file

_FILE = "k/.copies.json"
_LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyCopy:
    """One copy of the key records, as last seen."""

    name: str
    seen: datetime
    keys: Mapping[str, int]  # "DOMAIN/KEY-GENERATION" → number of the newest key record
    is_destroyed: bool = False  # a person reported the destruction at `seen`


@dataclass(frozen=True, kw_only=True, slots=True)
class CopyList:
    """The name of this copy, and all copies that it knows."""

    own_name: str = ""
    copies: Mapping[str, KeyCopy]  # by name, including destroyed ones

    @property
    def known(self) -> list[KeyCopy]:
        """Return the copies that are not destroyed, sorted by name."""
        return [copy for _, copy in sorted(self.copies.items()) if not copy.is_destroyed]


def read_copy_list(folder: Path) -> CopyList:
    """Read the list in a copy; return an empty list if there is none.

    Raise `Damaged` if it cannot be parsed.
    """
    path = folder / _FILE
    try:
        value = json.loads(read_file(path))
        name = str(value["name"])
        copies = [_from_json(name, copy) for name, copy in value["copies"].items()]
    except NotFound:
        return CopyList(copies={})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(
            f"{path}: not a list of copies. Remove it, then run `standfast backup keys copy` with"
            " each copy of the key records."
        ) from None
    return CopyList(own_name=name, copies={copy.name: copy for copy in copies})


def _from_json(name: str, value: Mapping[str, Any]) -> KeyCopy:
    """Decode one copy; raise `ValueError` if a text or the time is not valid."""
    seen = datetime.fromisoformat(value["seen"])
    keys = {str(key): int(number) for key, number in value["keys"].items()}
    if seen.tzinfo is None or not all(text.isprintable() for text in (name, *keys)):
        raise ValueError
    return KeyCopy(name=name, seen=seen, keys=keys, is_destroyed=bool(value["destroyed"]))


def merge(lists: Iterable[CopyList]) -> dict[str, KeyCopy]:
    """Merge lists; keep the entry of each name with the latest time."""
    found: dict[str, KeyCopy] = {}
    for copy_list in lists:
        for name, copy in copy_list.copies.items():
            if name not in found or found[name].seen < copy.seen:
                found[name] = copy
    return found


def write_copy_list(folder: Path, copies: CopyList) -> None:
    """Write the list into a copy, durably and atomically."""
    value = {
        "name": copies.own_name,
        "copies": {
            copy.name: {
                "seen": copy.seen.isoformat(),
                "keys": dict(copy.keys),
                "destroyed": copy.is_destroyed,
            }
            for copy in copies.copies.values()
        },
    }
    replace_file(folder / _FILE, json.dumps(value, indent=1, sort_keys=True).encode())


def check_copy_name(name: str) -> None:
    """Raise `UsageError` for a name that does not fit on one short line."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"name of a copy: not 1 to {_LONGEST_NAME} printable characters. Choose another name."
        )
