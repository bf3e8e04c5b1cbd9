"""YARA rules: compiled, with the hash of the rule set (extra `yara`).

Rules
- A rule cannot include another file, so the hash covers the whole rule set.
- In a review of logs, a rule is applied to the text of each record (event of a log). A record that
  cannot be scanned in time is treated as a match, because it may contain what the rules search for.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from standfast.errors import ConfigurationError
from standfast.evidence.parsers.log_record import Record

SUFFIXES = (".yar", ".yara")
_RECORD_SECONDS = 10
_NOT_SCANNED = "not scanned"


@dataclass(frozen=True, kw_only=True)
class YaraRules:
    """A compiled rule set."""

    compiled: Any
    count: int
    digest: str  # SHA-256 over the names and contents of the files

    def scanner(self, seconds: int) -> Any:
        """Return a scanner with this time limit for each content."""
        scanner = import_module("yara_x").Scanner(self.compiled)
        scanner.set_timeout(seconds)
        return scanner

    @cached_property
    def errors(self) -> tuple[type[Exception], ...]:
        """The errors that a scan raises if it is not completed."""
        yara_x = import_module("yara_x")
        return yara_x.ScanError, yara_x.TimeoutError, ValueError

    @cached_property
    def _of_records(self) -> Any:
        return self.scanner(_RECORD_SECONDS)

    @property
    def not_applied(self) -> Sequence[str]:
        """Return an empty list, because all rules of a loaded set are used."""
        return ()

    def matches(self, record: Record) -> Sequence[str]:
        """Return the names of the rules that match a record."""
        content = record.text.encode("utf-8", "surrogatepass")
        try:
            found = self._of_records.scan(content).matching_rules
        except self.errors:
            return (_NOT_SCANNED,)
        return [rule.identifier for rule in found]


def load_rules(path: Path, setting: str) -> YaraRules:
    """Compile a file of rules, or all `.yar` and `.yara` files of a folder.

    Raise ConfigurationError for rules that cannot be used; `setting` names them.
    """
    try:
        yara_x = import_module("yara_x")
    except ImportError:
        raise ConfigurationError(
            f"{setting}: yara-x is not installed. Run `pip install -r "
            "requirements/extras/yara.txt`."
        ) from None
    digest, compiler = hashlib.sha256(), yara_x.Compiler()
    compiler.enable_includes(False)
    try:
        files = sorted(_files(path))
        for file in files:
            content = file.read_bytes()
            name = file.name if file == path else str(file.relative_to(path))
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            compiler.new_namespace(name)
            compiler.add_source(content.decode(), origin=name)
        compiled = compiler.build()
    except OSError as error:
        raise ConfigurationError(
            f"{setting}: {path}: cannot be read: {error.strerror}. Correct the path."
        ) from None
    except (UnicodeDecodeError, yara_x.CompileError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"{setting}: {file}: invalid: {reason}. Correct the rules."
        ) from None
    count = sum(1 for _ in compiled)
    if not count:
        raise ConfigurationError(f"{setting}: {path}: it contains no rule. Add a rule.")
    return YaraRules(compiled=compiled, count=count, digest=digest.hexdigest())


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.suffix in SUFFIXES)
    else:
        yield path
