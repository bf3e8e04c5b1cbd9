"""Scan of restored files by YARA rules (extra `yara`).

The scan is a part of a drill, a test restore.

Rules
- If rules cannot be read or compiled, the drill does not start.
- A file that matches a rule fails the drill. A file that cannot be scanned in time fails the drill
  too, because its content is unknown.
- The reason in the report contains counts, names of rules and the hash of the rule set. A path may
  be personal data, so only the output for the person who runs the drill names the matching files.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from standfast.continuity.recovery_objectives import milliseconds
from standfast.evidence.review.yara_rules import YaraRules
from standfast.plurals import counted
from standfast.records import Now
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState

YARA_CHECK = "YARA rules"
_FILE_SECONDS = 120  # time limit for one file
_MOST_NAMED = 1_000  # number of paths in the output


def scan(rules: YaraRules, tree: Path, clock: Now) -> CheckResult:
    """Scan every file below a folder, without following links."""
    scanner = rules.scanner(_FILE_SECONDS)
    started, scanned = clock(), 0
    found, unscanned, names = list[str](), 0, set[str]()
    for path in _regular_files(tree):
        scanned += 1
        try:
            matching = scanner.scan_file(path).matching_rules
        except rules.errors:
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


def _regular_files(tree: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(tree):
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path
