"""Import of services from a CSV file, as sections of the configuration.

A service is something that the organisation offers, with its objectives of recovery and the backup
sets that it needs.

Rules
- The columns are `name` and the keys of `[services.NAME]` in `_COLUMNS`. Names in a list are
  separated by spaces, commas or semicolons.
- Each invalid row is reported with its line and its cause. If one row is invalid, nothing is
  imported.
- No file is written: a person adds the returned text to the configuration.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from standfast.config import Config
from standfast.config.base_section import Section
from standfast.config.sections.services import ServiceConfig
from standfast.config.toml_writer import key_text, toml, toml_key
from standfast.config.validation import validate
from standfast.config.value_types import Name
from standfast.continuity.service_order import recovery_order
from standfast.errors import FileInvalid, Problem, UsageError
from standfast.spreadsheet_csv import CsvRows

_REQUIRED = ("name", "owner", "rto_minutes", "rpo_minutes")
_LISTS = ("depends_on", "sets")
_COLUMNS = (*_REQUIRED, "mtpd_minutes", "minimum_capacity_percent", *_LISTS)
_LARGEST_FILE_BYTES = 16 * 1024 * 1024


class _Services(Section):
    """The services of the file."""

    services: Mapping[Name, ServiceConfig] = Field(description="Services.", default={})


def services_from_csv(config: Config, file: Path) -> str:
    """Return the services of a file as TOML; raise FileInvalid for any error."""
    lines: dict[str, int] = {}
    raw: dict[str, dict[str, object]] = {}
    problems: list[Problem] = []

    def report(line: int, message: str, hint: str = "") -> None:
        problems.append(Problem(file=str(file), line=line, message=message, hint=hint))

    for line, row in _rows(file):
        name = str(row.pop("name", ""))
        if name in lines:
            report(line, f"the service of line {lines[name]} has this name too")
        elif name in config.services:
            report(line, "the configuration has a service of this name", "remove the row")
        lines.setdefault(name, line)
        raw.setdefault(name, row)
    found = validate(_Services, {"services": raw}, config.folder)
    if isinstance(found, list):
        for finding in found:
            key = key_text(finding.key[2:]) or "name"
            report(lines.get(str(finding.key[1]), 0), f"{key}: {finding.message}", finding.hint)
        raise FileInvalid(sorted(problems, key=lambda problem: problem.line))
    everything = {**config.services, **found.services}
    for name, service in found.services.items():
        for other in service.depends_on:
            if other not in everything:
                report(lines[name], f"depends_on: there is no service {other!r}", "add a row")
        for set_name in service.sets:
            if set_name not in config.backup.sets:
                report(lines[name], f"sets: there is no backup set {set_name!r}", "configure it")
    if problems:
        raise FileInvalid(sorted(problems, key=lambda problem: problem.line))
    recovery_order(everything)
    return "\n".join(_section(name, row) for name, row in raw.items())


def _rows(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the line number and the values of each row.

    Omit empty cells and empty rows.
    """
    try:
        if file.stat().st_size > _LARGEST_FILE_BYTES:
            raise UsageError(f"{file}: larger than 16 MiB. Check that it is the right file.")
        rows = CsvRows(io.BytesIO(file.read_bytes()))
        header = [name.strip().lower() for name in next(rows, [])]
        unknown = [name for name in header if name not in _COLUMNS]
        missing = [name for name in _REQUIRED if name not in header]
        if unknown or missing or len({*header}) != len(header):
            raise UsageError(
                f"{file}: its first row must have the columns {', '.join(_REQUIRED)}, and may have "
                f"{', '.join(_COLUMNS[len(_REQUIRED) :])}."
            )
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                named = zip(header, cells, strict=False)
                yield rows.line, {key: _value(key, cell) for key, cell in named if cell}
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}. Name a CSV file.") from None
    except (csv.Error, UnicodeError):
        raise UsageError(f"{file}: not a CSV file. Save it as CSV in UTF-8.") from None


def _value(key: str, cell: str) -> object:
    if key in _LISTS:
        return [name for name in re.split(r"[\s,;]+", cell) if name]
    is_number = key.endswith(("_minutes", "_percent")) and cell.isascii() and cell.isdigit()
    return int(cell) if is_number else cell


def _section(name: str, row: Mapping[str, object]) -> str:
    keys = [f"{key} = {toml(row[key])}\n" for key in _COLUMNS if key in row]
    return f"[services.{toml_key(name)}]\n{''.join(keys)}"
