"""Output of `standfast backup verify`.

A recovery point is the result of one backup; packs are the files with the encrypted data.
"""

from typing import TYPE_CHECKING

from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.backups.verification import VerifyOutcome


def verification_summary_lines(outcome: "VerifyOutcome") -> list[Line]:
    """Return the lines on what was verified, findings and next steps."""
    report = outcome.report
    depth = "every byte read" if outcome.is_read else "signatures and sizes"
    if outcome.is_keyed:
        opened = "all content" if report.sampled is None else "the manifests and a sample"
        depth += f", {opened} decrypted"
    lines: list[Line] = [
        f"{counted(report.points, 'recovery point')}, {counted(report.packs, 'pack')}: {depth}."
    ]
    for finding in outcome.findings:
        lines.append(f"{finding.severity}: {finding.object}: {finding.problem}")
        if finding.what_to_do:
            lines.append(f"  → {finding.what_to_do}")
    if report.sampled is not None:
        sentence = report.sampled.sentence
        lines.append(f"{sentence[0].upper()}{sentence[1:]}.")
    if report.locks is not None:
        sentence = report.locks.sentence
        lines.append(f"{sentence[0].upper()}{sentence[1:]}.")
    if outcome.open_damage is not None:
        lines.append(f"error: {outcome.open_damage.sentence}.")
    if outcome.ledger_problem:
        lines += [
            f"The ledger did not record this verification completely: {outcome.ledger_problem}.",
            "The findings of earlier verifications may be missing as well.",
        ]
    if outcome.exit_status is ExitStatus.DONE:
        agrees = "Everything else agrees." if outcome.findings else "Everything agrees."
        lines.append(agrees if report.points else "There is nothing to verify yet.")
    if not outcome.is_write_only:
        lines.append(f"Warning: this vault is not write-only: {outcome.why_write_only}.")
    if report.damaged_packs:
        damaged = counted(len(report.damaged_packs), "damaged pack")
        lines += [
            f"Next: `standfast backup run` uploads the data of {damaged} again.",
            "If the host has another ledger, also pass this command's --json output by --distrust.",
        ]
    if outcome.exit_status is ExitStatus.DONE and not outcome.is_read:
        lines.append("Next: `standfast backup verify --read` reads every byte.")
    return lines
