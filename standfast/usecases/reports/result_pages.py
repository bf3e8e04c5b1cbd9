"""Result pages of an incident and the installation: facts, masked names.

The pages show incidents, backups, drills (test restores) and the audit chain, in which each event
contains the hash of the event before it.

Rules
- The audit chain is verified for each page. If the ledger (the installation's database) can be
  written, the newest event is signed first, so that the signature covers all events on the page.
  Problems come first in the section about the audit chain.
- Times come from the timeline of the incident, and states from the rows of the ledger.
- Names of affected people are masked here, before the page is rendered. The texts that people
  entered for manual steps are not shown. Their notes are shown, with numbers and mail addresses
  masked.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from standfast.errors import ConfigurationError, Damaged
from standfast.evidence.host_clock import offset_in_words
from standfast.evidence.text_masking import mask_text
from standfast.ledger.audit.auditor import AuditEvent
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.playbook.actions.accounts_lock import LOCK
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.engine import is_pending
from standfast.playbook.model import StepKind
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.run_state import State, StepView
from standfast.records import EffectState, Proof, StepState
from standfast.reports.html_page import incident_page, installation_page, write_page
from standfast.reports.name_masking import mask_target
from standfast.reports.report_records import (
    AccountLine,
    ChainLine,
    EvidenceLine,
    Heading,
    IncidentReport,
    InstallationReport,
    NoteLine,
    NoticeLine,
    NotNotified,
    OpenIncident,
    Reason,
    StepLine,
)
from standfast.usecases.core.additional_steps import additional_step_title, additional_step_verb
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.frozen_folders import seal_key
from standfast.usecases.incidents.lifecycle import look
from standfast.usecases.notices.delivery_accounting import LOST, counted_rows
from standfast.usecases.reports.affected_lines import affected_lines
from standfast.usecases.reports.backup_and_drill_results import (
    backup_lines,
    drill_lines,
    prediction_lines,
)
from standfast.usecases.reports.legal_obligations import incident_obligations
from standfast.usecases.reports.timeline import decisions, event_lines


def write_incident_page(installation: Installation, incident_id: str, out: Path) -> Path:
    """Write the page of one incident; replace an earlier page."""
    return write_page(incident_page(incident_report(installation, incident_id)), out)


def write_installation_page(installation: Installation, out: Path) -> Path:
    """Write the page of all backups, drills, incidents and the audit record."""
    return write_page(installation_page(installation_report(installation)), out)


def incident_report(
    installation: Installation, incident_id: str, *, must_verify: bool = True
) -> IncidentReport:
    """Return the content of the page of one incident.

    Raise UsageError for an unknown id. With `must_verify=False`, omit the audit record, the drills
    and the backups; the time then does not depend on the size of the ledger.
    """
    row = installation.ledger.incidents.get(incident_id)
    chain = chain_line(installation) if must_verify else None
    # `look` does not verify the audit chain, because `chain_line` does so if it is requested.
    outcome = look(installation, incident_id, must_verify=False)
    effects = [
        effect
        for effect in installation.ledger.effects.of_incident(incident_id)
        if effect.verb != PAGE
    ]
    events = installation.ledger.timeline(incident_id)
    refused = installation.ledger.steps.refused(incident_id)
    return IncidentReport(
        heading=heading(installation),
        incident=incident_id,
        scenario=row.scenario,
        title=outcome.state.playbook.title,
        mode=row.mode,
        is_open=row.is_open,
        is_stopped=row.is_stopped,
        opened_at=row.opened_at,
        opened_by=row.opened_by,
        closed_at=row.closed_at,
        next_step=outcome.summary.next_step if row.is_open else "None: the incident is closed.",
        steps=tuple(_steps(outcome.state, effects, events, refused)),
        obligations=incident_obligations(installation, incident_id, row.mode),
        affected=affected_lines(installation, incident_id),
        notices=tuple(_notices(installation, outcome.state, effects)),
        accounts=tuple(_accounts(effects)),
        decisions=tuple(decisions(outcome.state, events)),
        evidence=tuple(_evidence(effects)),
        notes=tuple(
            NoteLine(
                at=note.recorded_at,
                author=note.author,
                text=mask_text(note.text),
                files=note.files,
                folder=note.folder,
            )
            for note in installation.ledger.notes.of_incident(incident_id)
        ),
        seal_key=_seal_key(installation),
        ways=Counter(str(e.detail.get("way")) for e in events if e.action == "runner.started"),
        chain=chain,
        events=tuple(event_lines(outcome.state, events)),
        drills=drill_lines(installation) if must_verify else (),
        backups=backup_lines(installation) if must_verify else (),
    )


def installation_report(installation: Installation) -> InstallationReport:
    """Return the content of the page of the whole installation."""
    chain = chain_line(installation)
    return InstallationReport(
        heading=heading(installation),
        incidents=tuple(
            open_incident_line(installation, row)
            for row in reversed(installation.ledger.incidents.all())
        ),
        services=tuple(installation.config.services),
        drills=drill_lines(installation),
        predictions=prediction_lines(installation),
        backups=backup_lines(installation),
        chain=chain,
    )


def heading(installation: Installation) -> Heading:
    """Return the heading that every page has."""
    organisation = installation.config.organisation
    return Heading(
        organisation=organisation.name,
        time_zone=organisation.time_zone,
        written_at=installation.clock(),
    )


def open_incident_line(installation: Installation, row: IncidentRow) -> OpenIncident:
    """Return an incident in the form for a list."""
    summary = look(installation, row.id, must_verify=False).summary if row.is_open else None
    return OpenIncident(
        incident=row.id,
        title=load(row.playbook, row.scenario).title,
        mode=row.mode,
        opened_at=row.opened_at,
        is_open=row.is_open,
        next_step=summary.next_step if summary else "",
        headline=summary.headline if summary else "",
        severity=summary.severity if summary else 0,
    )


def chain_line(installation: Installation) -> ChainLine:
    """Sign the newest event if possible, and verify the audit chain."""
    try:
        signed_to = installation.ledger.audit.newest_signed(installation.clock())
    except Damaged:
        signed_to = 0  # a damaged chain is not signed; the verification reports the damage
    found = installation.ledger.audit.verify()
    return ChainLine(
        events=found.events,
        rows=found.rows,
        heads=found.heads,
        witnessed=found.witnessed,
        signed_to=signed_to,
        head=_witnessed_hash(installation.config.ledger.witness, signed_to),
        findings=tuple(f"{finding.where}: {finding.problem}" for finding in found.findings),
        key=installation.ledger.cipher.signing_key().public_key().public_bytes_raw().hex(),
    )


def _seal_key(installation: Installation) -> str:
    """Return the public key that verifies evidence, for the page, or ""."""
    try:
        return seal_key(installation.config)
    except ConfigurationError:
        return ""  # `standfast check` reports the error


def _witnessed_hash(witness: Path, sequence: int) -> str:
    """Return the hash of a signed event in the witness, or "".

    The witness is a file on another machine with the signed events.
    """
    try:
        lines = witness.read_text().splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):
            head = json.loads(line)
            if head["sequence"] == sequence:
                return str(head["hash"])
    return ""


# steps


def _steps(
    state: State,
    effects: Sequence[EffectRow],
    events: Sequence[AuditEvent],
    refused: Set[tuple[str, int]],
) -> Iterator[StepLine]:
    def rounds(view: StepView) -> Set[int]:
        """Return the rounds (plannings of a step) that the page shows.

        A refused round is shown only if it is the last one.
        """
        before = {round_ for round_ in range(1, view.round) if (view.step, round_) not in refused}
        return {view.round} if view.state is StepState.REFUSED else before | {view.round}

    for step in state.playbook.steps:
        if is_pending(step, state):
            yield StepLine(name=step.name, title=step.title, state=None, does=step.action or "")
        else:
            view = state.steps[step.name]
            decides = step.kind is StepKind.DECIDE and view.answer is not None
            outcome = f"answered {view.answer}" if decides else ""
            yield _step(step.title, step.action or "", view, rounds(view), effects, events, outcome)
    for view in state.extra:
        yield _step(
            f"{additional_step_title(view.step)} ({view.step})",
            additional_step_verb(view.step),
            view,
            {view.round},
            effects,
            events,
            "",
        )


def _step(
    title: str,
    does: str,
    view: StepView,
    rounds: Set[int],
    effects: Sequence[EffectRow],
    events: Sequence[AuditEvent],
    outcome: str,
) -> StepLine:
    own_effects = [
        effect for effect in effects if effect.step == view.step and effect.round in rounds
    ]
    own_events = [event for event in events if event.detail.get("step") == view.step]
    began = [e.at for e in own_events if e.action in ("step.begun", "step.prompted", "step.waits")]
    finished = [e for e in own_events if e.action == "step.finished"]
    is_over = view.state.is_final
    asked = [e.at for e in own_events if e.action == "approval.asked"]
    claims = [
        e.at for e in own_events if e.action == "attempt.claimed" and e.detail.get("verb") != PAGE
    ]
    if not does:
        running_from = None
    elif not asked:
        running_from = min(began, default=None)
    else:
        running_from = min(claims, default=None)
    if not outcome and finished and is_over and view.state is not StepState.DONE:
        outcome = str(finished[-1].detail.get("reason", ""))
    return StepLine(
        name=view.step,
        title=title,
        state=view.state,
        does=does,
        began_at=min(began, default=None),
        running_from=running_from,
        ended_at=finished[-1].at if is_over and finished else None,
        counts=Counter(effect.state for effect in own_effects),
        reasons=tuple(
            Reason(state=state, text=text or "no reason was given", count=count)
            for (state, text), count in Counter(
                (effect.state, effect.reason)
                for effect in own_effects
                if effect.state is not EffectState.DONE
            ).most_common()
            if text or state in (EffectState.FAILED, EffectState.REFUSED)
        ),
        outcome=outcome,
    )


# people and accounts


def _notices(
    installation: Installation, state: State, effects: Sequence[EffectRow]
) -> Iterator[NoticeLine]:
    titles = {step.name: step.title for step in state.playbook.steps}
    order = [*titles, *(view.step for view in state.extra)]
    sent = counted_rows([effect for effect in effects if effect.verb == SEND], refused=set())
    lost = {
        token: delivery.state.value
        for token, delivery in installation.ledger.deliveries.of_incident(state.incident).items()
        if delivery.state in LOST
    }
    rounds = {(effect.step, effect.round) for effect in sent}
    for step, round_ in sorted(rounds, key=lambda key: (order.index(key[0]), key[1])):
        frozen = installation.ledger.incidents.notice(
            state.incident, step, round_, must_verify=False
        )
        own_effects = [
            replace(
                effect, state=EffectState.FAILED, reason=f"handed over, then {lost[effect.token]}"
            )
            if effect.state is EffectState.DONE and effect.token in lost
            else effect
            for effect in sent
            if (effect.step, effect.round) == (step, round_)
        ]
        by_language: dict[str, Counter[EffectState]] = {}
        for effect in own_effects:
            language = str(effect.details.get("language") or "none")
            by_language.setdefault(language, Counter())[effect.state] += 1
        yield NoticeLine(
            step=step,
            title=titles.get(step, step),
            template=frozen.template,
            audience=frozen.audience,
            digest=frozen.digest,
            root=frozen.root,
            by_language=dict(sorted(by_language.items())),
            not_notified=tuple(
                NotNotified(
                    who=mask_target(effect.target), state=effect.state, reason=effect.reason
                )
                for effect in own_effects
                if effect.state is not EffectState.DONE
            ),
        )


def _accounts(effects: Sequence[EffectRow]) -> Iterator[AccountLine]:
    proofs: dict[str, Proof] = {}
    undone: dict[str, EffectState] = {}
    for effect in effects:
        is_proof = effect.verb == PROVE and effect.state is EffectState.DONE
        if is_proof and effect.proof.reaches(proofs.get(effect.handle, Proof.NONE)):
            proofs[effect.handle] = effect.proof
        if effect.undoes:
            undone[effect.undoes] = effect.state
    for effect in effects:
        if effect.verb == LOCK:
            undo = undone.get(effect.token)
            yield AccountLine(
                who=mask_target(effect.target),
                lock=effect.state,
                reason=effect.reason if effect.state is not EffectState.DONE else "",
                proof=proofs.get(effect.handle, Proof.NONE),
                is_restored=undo is EffectState.DONE,
                undo=undo,
            )


def _evidence(effects: Sequence[EffectRow]) -> Iterator[EvidenceLine]:
    for effect in effects:
        if effect.verb == SNAPSHOT:
            facts = cast("Mapping[str, Any]", effect.facts)
            yield EvidenceLine(
                source=effect.connector,
                state=effect.state,
                files=int(facts.get("files", 0)),
                size_bytes=int(facts.get("size_bytes", 0)),
                unread=int(facts.get("unread", 0)) + int(facts.get("incomplete", 0)),
                manifest=str(facts.get("manifest", "")),
                folder=str(facts.get("folder", "")),
                clock=offset_in_words(facts["clock_offset_microseconds"])
                if "clock_offset_microseconds" in facts
                else "",
                copied_to=str(facts.get("copied_to", "")),
                reason=effect.reason,
            )
