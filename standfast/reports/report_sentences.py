"""Words of a page: states, proofs, events, durations (rounded up), sizes.

Rules
- Sentences state only facts and numbers of the records.
- A paragraph that states what was done also states what was not done.
- Durations have at most two units, so that no figure looks more precise than its measurement.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.playbook.actions.accounts_lock import LOCK
from standfast.plurals import counted
from standfast.records import EffectState, Mode, Proof, StepState
from standfast.reports.report_records import (
    DrillLine,
    IncidentReport,
    Measure,
    NoticeLine,
    StepLine,
)

_DONE = EffectState.DONE
_STATES = {EffectState.SUBMITTING: "under way", EffectState.PLANNED: "not started"}
_STEP_STATES: Mapping[str, str] = {
    StepState.PROMPTED: "waits for a person",
    StepState.ASKING: "waits for approval",
    StepState.WAITING: "waits for its time",
}
_PROOF = {
    Proof.NONE: "not proven",
    Proof.READ_BACK: "read back from the directory; sessions were not counted",
    Proof.CONNECTIONS_GONE: "no connection to the directory is open; sessions were not counted",
    Proof.SESSIONS_GONE: "the directory lists no session or token",
    Proof.REFUSED: "a sign-in was refused",
}


def proof_words(proof: Proof) -> str:
    """Return the proof of a lock in words."""
    return _PROOF[proof]


def weakest_proof(report: IncidentReport) -> Proof:
    """Return the weakest proof of all locks that were proven."""
    levels = [account.proof for account in report.accounts if account.lock is _DONE]
    return Proof.weakest(level for level in levels if level is not Proof.NONE)


def duration(length: timedelta) -> str:
    """Return a duration in at most two units: `0.8 s`, `3 min 5 s`, `2 d 4 h`.

    The second unit is rounded up, so that an objective missed by seconds never looks met.
    """
    seconds = length.total_seconds()
    if seconds < 0:
        return f"-{duration(-length)}"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, unit_below in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            whole = -(-whole // below) * below
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {unit_below}" if rest else "")
    return f"{whole} s"


@dataclass(frozen=True, kw_only=True)
class RecoveryAnswer:
    """The verdict on the objectives of all services, with the reason."""

    is_met: bool
    text: str


def recovery_answer(services: Sequence[str], drills: Sequence[DrillLine]) -> RecoveryAnswer | None:
    """Return whether services meet their objectives; None without services.

    `drills` are the drills (test restores) of all services, the newest first.
    """
    newest: dict[str, Measure] = {}
    for drill in drills:
        for measure in drill.measures:
            if measure.is_checked or measure.missed:
                newest.setdefault(measure.service, measure)
    for drill in drills:  # for services that no drill has checked
        for measure in drill.measures:
            newest.setdefault(measure.service, measure)
    if not services:
        return None
    missed = [
        f"{name} ({' and '.join(newest[name].missed)})"
        for name in services
        if name in newest and newest[name].missed
    ]
    unmeasured = [name for name in services if name in newest and not newest[name].is_checked]
    undrilled = [name for name in services if name not in newest]
    met = sum(name in newest and newest[name].is_met for name in services)
    restored = f"{met:,} of {counted(len(services), 'service')} met their objectives"
    verdict = "Yes" if met == len(services) else "No"
    parts = [f"{verdict}: in the newest drill of each service, {restored}"]
    parts += [f"missed: {listed(missed)}"] if missed else []
    if unmeasured:
        parts.append(f"RTO not measured, because no check ran: {listed(unmeasured)}")
    parts += [f"never drilled: {listed(undrilled)}"] if undrilled else []
    return RecoveryAnswer(is_met=met == len(services), text=f"{'; '.join(parts)}.")


def size(count: int) -> str:
    """Return a number of bytes in decimal units: `312 MB`."""
    amount, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return (
        f"{amount:.0f} {units[0]}"
        if amount >= 10 or units[0] == "bytes"
        else (f"{amount:.1f} {units[0]}")
    )


def listed(parts: Iterable[str]) -> str:
    """Join texts with commas, and with `and` before the last."""
    items = list(parts)
    return (
        items[0]
        if len(items) == 1
        else ", ".join(items[:-1]) + " and " + items[-1]
        if items
        else ""
    )


def not_done_count(counts: Mapping[EffectState, int]) -> int:
    """Return the number of targets in another state than done."""
    return sum(count for state, count in counts.items() if state is not _DONE)


def state_words(state: EffectState) -> str:
    """Return a state in words."""
    return _STATES.get(state, state.value)


def step_state_words(state: str | None) -> str:
    """Return the state of a step in words; None means not reached."""
    return "not reached" if state is None else _STEP_STATES.get(state, state)


def counts_words(counts: Mapping[EffectState, int]) -> str:
    """Return the states of targets with counts: `487 done, 13 refused`."""
    return ", ".join(
        f"{counts[state]:,} {state_words(state)}" for state in STATES_IN_ORDER if counts.get(state)
    )


STATES_IN_ORDER = (
    EffectState.DONE,
    EffectState.UNKNOWN,
    EffectState.FAILED,
    EffectState.REFUSED,
    EffectState.SUBMITTING,
    EffectState.PLANNED,
)


def contained_after(report: IncidentReport) -> timedelta | None:
    """Return the time from opening to the end of the last lock, or None."""
    ends = [step.ended_at for step in report.steps if step.does == LOCK]
    if not ends or None in ends:
        return None
    return max(end for end in ends if end) - report.opened_at


def what_happened(report: IncidentReport, opened: str) -> str:
    """Return the incident in one paragraph; `opened` is its moment in words."""
    sentences = [_opening(report, opened)]
    sentences += _accounts(report)
    sentences += _evidence(report)
    sentences += [_notice_sentence(notice) for notice in report.notices]
    sentences += _decisions(report)
    sentences += _unlocked(report)
    if not report.is_open and report.closed_at:
        sentences.append(
            f"It was closed {duration(report.closed_at - report.opened_at)} after it opened."
        )
    return " ".join(sentences)


def _opening(report: IncidentReport, opened: str) -> str:
    how = {
        Mode.EXERCISE: " as an exercise: no live system was reached",
        Mode.PLAN: " as a plan: nothing was done",
        Mode.LIVE: "",
    }[report.mode]
    return f"On {opened}, {report.opened_by} opened “{report.title}”{how}."


def _accounts(report: IncidentReport) -> list[str]:
    meant = len(report.accounts)
    if not meant:
        return []
    locked = sum(account.lock is _DONE for account in report.accounts)
    proven = sum(
        account.lock is _DONE and account.proof is not Proof.NONE for account in report.accounts
    )
    took = contained_after(report)
    when = f" within {duration(took)}" if took is not None else " so far"
    if locked == meant:
        text = f"{_all(meant, 'account')} locked{when}"
    else:
        text = f"{locked:,} of {counted(meant, 'account')} {_was(locked)} locked{when}"
    if not locked:
        return [f"{text}."]
    if not proven:
        return [f"{text}; it was not proven that the locks hold."]
    weakest = weakest_proof(report)
    if proven == locked:
        return [f"{text}, {'and' if proven == 1 else 'each'} proven ({_PROOF[weakest]})."]
    return [f"{text}, {proven:,} of them proven (at least: {_PROOF[weakest]})."]


def _evidence(report: IncidentReport) -> list[str]:
    frozen = [line for line in report.evidence if line.state is _DONE or line.manifest]
    missing = len(report.evidence) - len(frozen)
    uncopied = sum(line.state is not _DONE for line in frozen)
    sentences = []
    if frozen:
        files = sum(line.files for line in frozen)
        sentences.append(
            f"{counted(files, 'log file')} from {counted(len(frozen), 'source')} "
            f"{_was(files)} frozen as sealed evidence."
        )
    if missing:
        sentences.append(f"{counted(missing, 'source')} of evidence {_was(missing)} not frozen.")
    if uncopied:
        sentences.append(f"{counted(uncopied, 'source')} of evidence {_was(uncopied)} not copied.")
    return sentences


def _notice_sentence(notice: NoticeLine) -> str:
    counts = notice.counts
    done, short = counts.get(_DONE, 0), not_done_count(counts)
    if not counts:
        return f"The audience “{notice.audience}” was empty."
    whole = sum(counts.values())
    if not short:
        return f"{_everyone(whole)} of “{notice.audience}” {_was(whole)} notified."
    rest = {state: count for state, count in counts.items() if state is not _DONE}
    return (
        f"{done:,} of {counted(whole, 'person', 'people')} of “{notice.audience}” "
        f"{_was(done)} notified; {counts_words(rest)}."
    )


def _decisions(report: IncidentReport) -> list[str]:
    sentences = [
        f"{decision.person} {decision.action} “{decision.step}”"
        for decision in report.decisions
        if decision.action in ("approved", "refused")
    ]
    return [f"{listed(sentences)}."] if sentences else []


def _unlocked(report: IncidentReport) -> list[str]:
    back = sum(account.is_restored for account in report.accounts)
    if not back:
        return []
    return [f"{counted(back, 'account')} {_was(back)} unlocked again."]


def opened_commands(text: str) -> list[tuple[bool, str]]:
    """Split a text at its backticks into pairs: (is a command, text)."""
    return [(bool(index % 2), part) for index, part in enumerate(text.split("`")) if part]


def step_time(step: StepLine, now: datetime) -> str:
    """Return how long a step took, or has been running."""
    if step.began_at is None:
        return ""
    if step.ended_at is None:
        return f"for {duration(now - step.began_at)} so far"
    return duration(step.ended_at - step.began_at)


def _everyone(count: int) -> str:
    return "The one person" if count == 1 else f"All {count:,} people"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _all(count: int, noun: str) -> str:
    if count == 1:
        return f"The {noun} was"
    return f"All {count:,} {noun}s were"
