"""Support bundle: a JSON file about an installation, for external support.

Rules
- The bundle must not identify anybody. In every text of the bundle, secrets, texts of the
  configuration, enrolled people, paths, mail addresses and card numbers are replaced.
- The part about the configuration has names of sections, numbers, choices, schedules and time
  zones. Every other text is replaced by its length.
- The part about the ledger (the installation's database) has counts, times, states, and the
  problems of the newest failed runs.
- The part about a log file has the events of its JSON lines, without their values. Other lines are
  only counted.
- If the configuration is invalid or the ledger is damaged, the bundle is still created and reports
  the error.
"""

import json
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from standfast import __version__
from standfast.config import Config, load
from standfast.config.base_section import Section
from standfast.config.value_types import SecretReference
from standfast.errors import StandfastError
from standfast.evidence.text_masking import mask_text
from standfast.ledger import open_ledger
from standfast.ledger.status_query import count_rows, query_status
from standfast.records import Json, JsonObject, Now, timestamp
from standfast.secrets import Resolver, SystemResolver
from standfast.usecases.core.installation import ledger_url, system_clock
from standfast.usecases.core.redaction import HIDDEN
from standfast.usecases.health.installation_check import check_installation

_SHOWN_KEYS = frozenset({"schedule", "verify_schedule", "read_schedule", "time_zone"})
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_PATH = re.compile(r"(?<![\w/.])/[^\s:;,'\"`)]+")
_SHOWN_RUNS = ("backup", "verify", "restore", "drill", "keep")
_MOST_RUNS = 20  # largest number of failed and partial runs of each kind
_MOST_LINES = 2000
_SHORTEST_HIDDEN = 3


def support_bundle(
    config_file: Path,
    *,
    env: Mapping[str, str],
    log: Path | None = None,
    clock: Now = system_clock,
    progress: Callable[[int, int], None] | None = None,
) -> JsonObject:
    """Return the bundle; errors of the installation are part of it."""
    bundle: dict[str, Json] = {
        "at": timestamp(clock()),
        "versions": {
            "standfast": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "packages": {found.name: found.version for found in distributions()},
        },
    }
    hidden = _Hidden()
    try:
        config = load(config_file)
    except StandfastError as error:
        return {**bundle, "configuration_problem": hidden.redact(str(error))}
    bundle["configuration"] = hidden.shape(config)
    resolver = SystemResolver(env=env, base_dir=config.folder)
    hidden.add_secrets(resolver)
    try:
        bundle["ledger"] = _ledger(config, resolver, hidden, clock)
    except StandfastError as error:
        bundle["ledger_problem"] = hidden.redact(str(error))
    checks = check_installation(config_file, env=env, clock=clock, progress=progress).checks
    bundle["checks"] = [
        {
            "part": check.part,
            "verdict": check.verdict.value,
            "found": hidden.redact(check.found),
            "what_to_do": hidden.redact(check.what_to_do),
        }
        for check in checks
    ]
    if log is not None:
        bundle["log"] = _log(log, hidden)
    return bundle


def write_support_bundle(bundle: JsonObject, to: Path) -> None:
    """Write the bundle into a new file that only this user may read.

    Raise StandfastError if the file exists or cannot be written.
    """
    try:
        with open(to, "x", opener=_private) as file:
            json.dump(bundle, file, indent=1, ensure_ascii=False)
            file.write("\n")
    except OSError as error:
        raise StandfastError(
            f"support bundle {to}: cannot be written: {error.strerror}. Name a new file."
        ) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Hidden:
    """The values that no text of the bundle may contain."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._names: set[str] = set()  # names of sections, which are shown
        self._references: list[SecretReference] = []

    def add(self, values: Iterable[str]) -> None:
        """Hide values, each of their lines, and the name in `directory:name`."""
        for value in values:
            parts = (value, *value.splitlines(), value.partition(":")[2])
            self._values |= {
                part.strip() for part in parts if len(part.strip()) >= _SHORTEST_HIDDEN
            }

    def add_secrets(self, resolver: Resolver) -> None:
        """Hide the secrets of the configuration that can be read."""
        for reference in self._references:
            with suppress(StandfastError):
                self.add([resolver.resolve(reference).reveal()])

    def redact(self, text: str) -> str:
        """Return a text without hidden values, paths and personal numbers."""
        for value in sorted(self._values - self._names, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", HIDDEN, text)
        return mask_text(_PATH.sub("[path]", text))

    def shape(self, value: Any, *, is_shown: bool = False) -> Json:
        """Return a setting without its texts; later, `redact` hides these texts."""
        match value:
            case Section():
                return {
                    name: self.shape(inner, is_shown=_is_shown(type(value), name))
                    for name, inner in value
                }
            case Mapping():
                return dict(self._entries(value))
            case list() | tuple():
                return [self.shape(inner, is_shown=is_shown) for inner in value]
            case None | bool() | int():
                return value
            case float():
                return str(value)
            case SecretReference():
                self._references.append(value)
                return f"[{value.scheme} reference]"
            case _ if is_shown:
                return str(value)
        self.add([str(value)])
        return "[path]" if isinstance(value, Path) else f"[{len(str(value))} characters]"

    def _entries(self, mapping: Mapping[Any, Any]) -> Iterator[tuple[str, Json]]:
        for number, (key, inner) in enumerate(mapping.items(), 1):
            name = str(key)
            if _NAME.fullmatch(name):
                self._names.add(name)
            else:  # the name of an account, a variable or a header
                self.add([name])
                name = f"[name {number}]"
            yield name, self.shape(inner)


def _is_shown(section: type[Section], name: str) -> bool:
    """Return whether a setting is a choice, a schedule or a time zone."""
    annotation = section.model_fields[name].annotation
    choices = (annotation, *get_args(annotation))
    return name in _SHOWN_KEYS or any(get_origin(choice) is Literal for choice in choices)


def _ledger(config: Config, resolver: Resolver, hidden: _Hidden, clock: Now) -> JsonObject:
    url, now = ledger_url(config, resolver), clock()
    hidden.add([url])
    with open_ledger(url, config.ledger.keys, config.ledger.witness) as ledger:
        for person in ledger.people.all():
            hidden.add([person.name, person.full_name, person.mail, *person.accounts])
        seen = query_status(url, now)
        runs = [
            run
            for kind in _SHOWN_RUNS
            for run in ledger.runs.all(kind, states=["failed", "partial"], most=_MOST_RUNS)
        ]
    states = Counter[tuple[str, str]]()
    for last in seen.last_runs:
        states[last.kind, last.state] += last.count
    names = {*config.backup.sets, *config.services}
    return {
        "rows": count_rows(url),
        "events": seen.events,
        "signed_events": seen.signed_events,
        "signed_at": timestamp(seen.signed_at) if seen.signed_at else None,
        "hosts_that_serve": len(seen.serve_hosts),
        "open_incidents": dict(Counter(incident.mode for incident in seen.incidents)),
        "runs": {f"{kind} {state}": count for (kind, state), count in sorted(states.items())},
        "last_problems": [
            {
                "kind": run.kind,
                "subject": run.subject
                if run.subject.rpartition(".")[2] in {*names, "vault"}
                else HIDDEN,
                "state": run.state,
                "started_at": timestamp(run.started_at),
                "problem": hidden.redact(str(run.summary.get("problem", ""))),
                "counts": {
                    name: value
                    for name, value in run.summary.items()
                    if isinstance(value, bool | int)
                },
            }
            for run in runs
        ],
    }


def _log(file: Path, hidden: _Hidden) -> JsonObject:
    """Return the last events of a JSON log, without values."""
    try:
        lines = file.read_text(errors="replace").splitlines()[-_MOST_LINES:]
    except OSError as error:
        return {"problem": f"cannot be read: {error.strerror}"}
    events: list[Json] = []
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            events.append(
                {
                    key: hidden.redact(str(found[key]))
                    for key in ("time", "level", "logger", "event")
                }
            )
    return {"events": events, "other_lines": len(lines) - len(events)}
