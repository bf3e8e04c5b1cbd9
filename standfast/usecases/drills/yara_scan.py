"""Scan of restored files by YARA rules (extra `yara`).

Rules
- If rules cannot be read or compiled, the drill does not start. A rule cannot include another file,
  so the hash covers the whole rule set.
- A file that matches fails the drill. So does a file that cannot be scanned in time, because its
  content is unknown.
- The reason has counts, names of rules and the hash of the rule set. A path may be personal data,
  so the paths of matching files are only in the output for the person who drills.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from standfast.continuity.recovery_objectives import milliseconds
from standfast.errors import ConfigurationError
from standfast.plurals import counted
from standfast.records import Now
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState

YARA_CHECK = "YARA rules"
_SUFFIXES = (".yar", ".yara")
_FILE_SECONDS = 120  # time limit for one file
_MOST_NAMED = 1_000  # number of paths in the output


@dataclass(frozen=True, kw_only=True)
class YaraRules:
    """A compiled rule set."""

    compiled: Any
    count: int
    digest: str  # SHA-256 over the names and contents of the files


def load_rules(path: Path | None) -> YaraRules | None:
    """Compile a file of rules, or all `.yar` and `.yara` files of a folder.

    Return None without a path. Raise ConfigurationError for rules that cannot be used.
    """
    if path is None:
        return None
    try:
        yara_x = import_module("yara_x")
    except ImportError:
        raise ConfigurationError(
            "drills.yara_rules: yara-x is not installed. Run `pip install -r "
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
            f"drills.yara_rules: {path}: cannot be read: {error.strerror}. Correct the path."
        ) from None
    except (UnicodeDecodeError, yara_x.CompileError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"drills.yara_rules: {file}: invalid: {reason}. Correct the rules."
        ) from None
    count = sum(1 for _ in compiled)
    if not count:
        raise ConfigurationError(f"drills.yara_rules: {path}: it contains no rule. Add a rule.")
    return YaraRules(compiled=compiled, count=count, digest=digest.hexdigest())


def scan(rules: YaraRules, tree: Path, clock: Now) -> CheckResult:
    """Scan every file below a folder, without following links."""
    yara_x = import_module("yara_x")
    scanner = yara_x.Scanner(rules.compiled)
    scanner.set_timeout(_FILE_SECONDS)
    started, scanned = clock(), 0
    found, unscanned, names = list[str](), 0, set[str]()
    for path in _regular_files(tree):
        scanned += 1
        try:
            matching = scanner.scan_file(path).matching_rules
        except (yara_x.ScanError, yara_x.TimeoutError, ValueError):
            unscanned += 1
            found.append(f"{path.relative_to(tree)}: not scanned")
            continue
        if matching:
            names |= {rule.identifier for rule in matching}
            found.append(
                f"{path.relative_to(tree)}: {', '.join(rule.identifier for rule in matching)}"
            )
    matched = len(found) - unscanned
    reason = f"{counted(scanned, 'file')} scanned by {counted(rules.count, 'rule')}"
    if matched:
        reason += f", {matched} matched {', '.join(sorted(names))}"
    if unscanned:
        reason += f", {unscanned} could not be scanned"
    return CheckResult(
        name=YARA_CHECK,
        service="",
        level=CheckLevel.CONTENT,
        state=CheckState.FAILED if found else CheckState.PASSED,
        reason=f"{reason}; rule set SHA-256 {rules.digest}",
        took_ms=milliseconds(clock() - started),
        output="\n".join(found[:_MOST_NAMED]),
    )


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    else:
        yield path


def _regular_files(tree: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(tree):
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path
