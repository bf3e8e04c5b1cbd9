"""Whom a notice was held for: minors and whoever has died; a person decides about each.

Leaves who is held to `notices/audience`, whose message did not arrive to `returned`, and how
decisions count to `accounting`.

Rules
- Each is told, at an address that the person who decides names (a guardian's, an heir's, or their
  own), or is left out, with the reason. Who decided, when and why stands with them and in the
  timeline. Where the step names roles, only who has one of them decides.
- To tell is a step of its own, with the approvals and the abort window of the notice that they were
  held in, and its very words: one a person, so that nobody is told twice.
- Words that were corrected since go to nobody any more, and the correction is of a letter that they
  never got: the notice is written anew with what holds now. By an answer that was corrected since,
  it may be for nobody.
- What was decided is not decided again, except that who was left out may be told after all, and
  that whoever an approver refused to tell so is as if nobody had decided.
- Nobody is told apart from a notice that is not approved: asked for anew it holds them again.
- Whose message did not arrive is told in the same way, by a letter or at another address.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from operator import eq
from typing import cast

from standfast.adapters.factory import Outside
from standfast.adapters.senders.letters import letter_obstacle
from standfast.errors import Refused, UsageError
from standfast.ledger.effects.effect_rows import EffectRow, effect_token, scope_of
from standfast.ledger.messages.sent_messages import first_message, replaced_message, sent_messages
from standfast.notices.mail_addresses import parse_address
from standfast.notices.prepared_notice import Prepared, merkle_root, pick_language
from standfast.playbook.action_arguments import arguments_of
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.answer_dependencies import answers_behind
from standfast.playbook.engine import is_wanted
from standfast.playbook.planned_effects import Draft, Expansion, FrozenNotice
from standfast.playbook.run_state import HELD_STEP_PREFIX
from standfast.records import Json, JsonObject, StepState
from standfast.usecases.approvals.step_decisions import speaker
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import refuse_blocked
from standfast.usecases.incidents.blast_radius import NOBODY
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.incidents.notice_effects import render_step_notice
from standfast.usecases.incidents.step_expansion import add_required_approvals
from standfast.usecases.notice_follow_up.undelivered_messages import (
    individual_notice_steps,
    returned,
)
from standfast.usecases.notices.correction_history import standing_corrections
from standfast.usecases.notices.delivery_accounting import APART, LEFT_OUT, counted_rows
from standfast.usecases.notices.recipient_targets import HELD, MAIL, POST

_MARK_LENGTH = 8  # at least


@dataclass(frozen=True, kw_only=True)
class Held:
    """One person who is held, or whom no message reached."""

    mark: str  # how people speak of them; nothing personal
    step: str
    why: str
    decision: str  # empty while nobody decided
    by: str

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
        return {
            "mark": self.mark,
            "step": self.step,
            "why": self.why,
            "decision": self.decision,
            "by": self.by,
        }


@dataclass(frozen=True, kw_only=True)
class IndividualNotice:
    """What telling somebody who was held came to: a step, and what it needs."""

    step: str
    needs_approvals: int


def held(installation: Installation, incident_id: str) -> list[Held]:
    """Give everybody who is held in an incident, those first about whom nobody decided."""
    installation.ledger.incidents.get(incident_id)
    rows, apart = (
        _rows(installation, incident_id),
        individual_notice_steps(installation, incident_id),
    )
    marks = marks_of([*rows, *(one.row for one in returned(installation, incident_id))])
    found = [_shown(row, apart, marks[row.token]) for row in rows]
    return sorted(found, key=lambda one: bool(one.decision))


def unreached(installation: Installation, incident_id: str) -> list[Held]:
    """Give whose message did not arrive, those first who are not told in another way."""
    installation.ledger.incidents.get(incident_id)
    lost = returned(installation, incident_id)
    marks = marks_of([*_rows(installation, incident_id), *(one.row for one in lost)])
    found = [
        Held(
            mark=marks[one.row.token],
            step=one.row.step,
            why=one.why,
            decision=one.decision,
            by="",
        )
        for one in lost
    ]
    return sorted(found, key=lambda one: bool(one.decision))


def leave_out(
    installation: Installation,
    incident_id: str,
    marks: Sequence[str],
    because: str,
    *,
    by: str | None = None,
) -> int:
    """Decide that somebody is not told, with the reason; give how many. Again changes nothing."""
    refuse_closed(installation, incident_id, then="decide about them")
    if not because.strip():
        raise UsageError("say why they are left out: --because TEXT; it is kept with each of them")
    rows = _meant(incident_id, _rows(installation, incident_id), marks)
    apart = individual_notice_steps(installation, incident_id)
    for row in rows:
        _refuse_told(row, apart)
    for row in rows:
        who = _speaker(installation, row, by)
        if not _decision(row, apart):
            facts = {"decision": LEFT_OUT, "by": who, "because": because}
            why = f"{LEFT_OUT} by {who}: {because} ({_why(row)})"
            if not installation.ledger.notices.decide_held(
                row, facts, why, who, installation.clock()
            ):
                _refuse_told(
                    row, individual_notice_steps(installation, incident_id)
                )  # somebody was first
    return len(rows)


def tell(
    installation: Installation,
    incident_id: str,
    mark: str,
    *,
    to: Sequence[str],
    because: str,
    name: str = "",
    values: Mapping[str, str] | None = None,
    by: str | None = None,
) -> IndividualNotice:
    """Plan that somebody who is held, or whom no message reached, is told at the address `to`.

    It leaves once it is approved.

    `to` is one mail address, the lines of a postal one, or nothing for their own. `name` is who
    is greeted, where that is somebody else. `values` are those of the notice that hold by now, and
    needed once it is corrected. UsageError for an address that is none; Refused while the law
    forbids to tell anybody yet, and where by a corrected answer nobody is to be told.
    """
    refuse_closed(installation, incident_id, then="decide about them")
    if not because.strip():
        raise UsageError("say why they are told: --because TEXT; it is kept with them")
    rows = [
        *_rows(installation, incident_id),
        *(one.row for one in returned(installation, incident_id)),
    ]
    (row,) = _meant(incident_id, rows, [mark])
    who = _speaker(installation, row, by)
    _refuse_unapproved(installation, row)
    refuse_blocked(
        installation.config,
        incident_id,
        installation.ledger.facts.of(incident_id),
        installation.clock(),
    )
    step_name = _step_name(installation, row)
    with closing(installation.outside(installation.ledger.incidents.get(incident_id))) as outside:
        words = _words(installation, row, outside, values or {})
        expansion = _expansion(
            installation, row, step_name, outside, words, to=to, name=name, by=by
        )
    now = installation.clock()
    is_new = installation.ledger.steps.expand(incident_id, step_name, 1, expansion, who, now)
    if not is_new:
        row = installation.ledger.effects.again(row)
    decision = f"{APART} {step_name}"
    if _is_held(row) and row.facts.get("decision") != decision:  # whoever was first may have died
        facts = {"decision": decision, "by": who, "because": because}
        why = f"{decision}, decided by {who}: {because} ({_why(row)})"
        installation.ledger.notices.decide_held(row, facts, why, who, now)
    if not is_new:
        raise UsageError(f"{_mark(row)} is told by step {step_name} already; look at that one")
    return IndividualNotice(step=step_name, needs_approvals=expansion.needs_approvals)


def _refuse_told(row: EffectRow, apart: Mapping[str, str]) -> None:
    """Raise UsageError for whom a step tells."""
    if (decision := _decision(row, apart)) not in ("", LEFT_OUT):
        raise UsageError(f"{_mark(row)} is {decision}; that is not taken back here")


def _refuse_unapproved(installation: Installation, row: EffectRow) -> None:
    """Raise UsageError while the notice may be planned anew: they would be in it a second time."""
    for notice in installation.ledger.notices.of_incident(row.incident):
        is_theirs = (notice.step, notice.round) == (row.step, row.round)
        if is_theirs and notice.state in (StepState.ASKING, StepState.REFUSED):
            raise UsageError(
                f"the notice of step {row.step!r} is not approved; tell {_mark(row)} apart once it "
                "is approved"
            )


def _words(
    installation: Installation, row: EffectRow, outside: Outside, values: Mapping[str, str]
) -> FrozenNotice:
    """Give the notice in the words that hold by now; say why not, where nobody is to get it."""
    frozen = installation.ledger.incidents.notice(row.incident, row.step, row.round)
    written = replaced_message(installation.ledger.effects, row)
    first = first_message(installation.ledger.effects, row)
    corrected = standing_corrections(installation, row.incident, first.step)
    if written.step != first.step:  # a correction: they got what was wrong
        if written.step != corrected[-1]:
            raise UsageError(
                f"{corrected[-1]} is newer than {written.step}, and written to them as well; tell "
                "them that one, should it not arrive"
            )
        if values:
            raise UsageError(f"{written.step} goes in its own words; take --value away")
        return frozen
    state = installation.ledger.incidents.state(row.incident)
    step = state.playbook.step(first.step)
    behind = (state.steps.get(name) for name in answers_behind(state.playbook, step))
    asked = [view for view in behind if view is not None]
    if not all(view.state.is_final for view in asked):
        raise Refused(
            f"the corrected answer is not taken in yet: `standfast incident resume {row.incident}`"
        )
    is_answered_anew = any(view.round > 1 for view in asked)
    if is_answered_anew and not is_wanted(step, state):
        raise Refused(
            f"by the answer as it was corrected, {first.step} is for nobody; leave them out: "
            f"`standfast notice leave-out {row.incident} {_mark(row)} --because WHY`"
        )
    if corrected and not values:
        raise UsageError(
            f"{corrected[-1]} corrects {first.step}, whose words go to nobody any more, and they "
            "got nothing that could be corrected; say what holds, --value NAME=TEXT as for "
            "`standfast notice preview`, or leave them out"
        )
    if values and not corrected:
        raise UsageError(f"{first.step} was not corrected and goes in its own words")
    if not corrected and not is_answered_anew:
        return frozen
    prepared = render_step_notice(step, arguments_of(step, state), state, outside, otherwise=values)
    return replace(frozen, body=prepared.as_json(), digest=prepared.digest)


def _expansion(
    installation: Installation,
    row: EffectRow,
    step_name: str,
    outside: Outside,
    words: FrozenNotice,
    *,
    to: Sequence[str],
    name: str,
    by: str | None,
) -> Expansion:
    incident = installation.ledger.incidents.get(row.incident)
    first = first_message(installation.ledger.effects, row)  # no playbook knows a step told apart
    step = installation.ledger.incidents.state(row.incident).playbook.step(first.step)
    prepared = Prepared.from_json(words.body)
    target = _target(row, to)
    connector = row.connector
    if target.startswith(POST) and not outside.prints(connector):
        letters = outside.letters()
        if letters is None:
            raise UsageError("nothing here writes letters; add a sender of kind `letters`")
        connector = letters
    elif target.startswith(MAIL) and outside.prints(connector):
        raise UsageError("this notice goes by letter; give the lines of a postal address")
    known = cast("Mapping[str, str]", row.details["values"])
    values = {slot: known.get(slot, "") for slot in prepared.slots}
    if name and "name" in prepared.slots:
        values["name"] = name
    default = installation.config.organisation.languages[0]
    language = pick_language(str(row.details["language"]), prepared.languages, default).language
    handle = installation.ledger.cipher.handle(scope_of(SEND, row.incident), target)
    token = effect_token(row.incident, step_name, 1, SEND, handle)
    filled = prepared.fill(language, values, token, address=target.partition(":")[2])
    details: dict[str, Json] = {
        "language": language,
        "values": values,
        "why": str(row.details.get("why", "")),
        "digest": filled.digest,
        "settles": row.token,
    }
    draft = Draft(verb=SEND, connector=connector, target=target, details=details)
    return add_required_approvals(
        step,
        Expansion(
            drafts=(draft,),
            notice=replace(
                words,
                root=merkle_root([filled.digest]),
                audience=f"{_what(row)} in {row.step}",
                recipients=1,
            ),
            reason=f"{_what(row)} in {row.step}: {_why(row)}",
        ),
        outside,
        is_signed=incident.is_signed and by == incident.opened_by,
        locked_today=NOBODY,
    )


def _target(row: EffectRow, to: Sequence[str]) -> str:
    """Give the target of an address; of none, of the person's own."""
    if not to:
        own = str(row.details.get("address") or "")
        postal = cast("Sequence[str]", row.details.get("postal") or ())
        sent_to = () if _is_held(row) else row.target.partition(":")[2].split("\n")
        to = (own,) if own else postal or sent_to
        if not to:
            raise UsageError(f"{_mark(row)} has no address of their own; name one")
    if len(to) > 1 and any("@" in line for line in to):  # it would be a letter to a mail address
        raise UsageError("name one mail address, or the lines of a postal one, and not both")
    if len(to) == 1 and "@" in to[0]:
        try:
            return MAIL + parse_address(to[0]).text
        except ValueError as error:
            raise UsageError(f"that is no mail address: {error}") from None
    if why := letter_obstacle("\n".join(to)):
        raise UsageError(f"that is no address to write to: {why}")
    return POST + "\n".join(to)


def _rows(installation: Installation, incident_id: str) -> list[EffectRow]:
    """Give the held effects that count: not those of a round that was refused and asked anew."""
    messages = sent_messages(installation.ledger.database, installation.ledger.effects, incident_id)
    rows = [message.row for message in messages if _is_held(message.row)]
    return counted_rows(rows, installation.ledger.steps.refused(incident_id))


def _step_name(installation: Installation, row: EffectRow) -> str:
    """Name the step that tells somebody: one a person, and a new one for each that was refused."""
    name = f"{HELD_STEP_PREFIX}{row.token[:12]}"
    refused = {one for one, _ in installation.ledger.steps.refused(row.incident)}
    before = sum(one == name or one.startswith(f"{name}-") for one in refused)
    return f"{name}-{before + 1}" if before else name


def _decision(row: EffectRow, apart: Mapping[str, str]) -> str:
    """Give what holds about them: a step that tells them, even if nobody lived to keep why."""
    if step := apart.get(row.token):
        return f"{APART} {step}"
    return LEFT_OUT if row.facts.get("decision") == LEFT_OUT else ""


def _is_held(row: EffectRow) -> bool:
    return row.target.startswith(HELD)


def _meant(incident_id: str, rows: Sequence[EffectRow], marks: Sequence[str]) -> list[EffectRow]:
    found: dict[str, EffectRow] = {}  # by token: who is named twice is meant once
    for mark in marks:
        there = [row for row in rows if len(mark) >= 4 and row.token.startswith(mark.lower())]
        if len(there) != 1:
            raise UsageError(
                f"{len(there) or 'nobody'} held in {incident_id} is known as {mark!r}; "
                f"`standfast notice held {incident_id}` lists them"
            )
        found[there[0].token] = there[0]
    return list(found.values())


def _speaker(installation: Installation, row: EffectRow, by: str | None) -> str:
    return speaker(installation, installation.ledger.incidents.state(row.incident), row.step, by)


def _shown(row: EffectRow, apart: Mapping[str, str], mark: str) -> Held:
    decision = _decision(row, apart)
    return Held(
        mark=mark,
        step=row.step,
        why=_why(row),
        decision=decision,
        by=str(row.facts.get("by") or "") if decision else "",
    )


def marks_of(rows: Iterable[EffectRow]) -> dict[str, str]:
    """Give by token its shortest beginning, of 8 characters at least, that no other has."""
    tokens = sorted({row.token for row in rows})
    shared = [sum(takewhile(bool, map(eq, *pair))) for pair in pairwise(tokens)]  # characters
    longest = map(max, [0, *shared], [*shared, 0])
    return {
        token: token[: max(_MARK_LENGTH, length + 1)]
        for token, length in zip(tokens, longest, strict=False)
    }


def _mark(row: EffectRow) -> str:
    return row.token[:_MARK_LENGTH]


def _what(row: EffectRow) -> str:
    return "held" if _is_held(row) else "not reached"


def _why(row: EffectRow) -> str:
    """Say why the person is held, as the row said it: what was decided stands in the facts."""
    return str(row.details.get("held") or row.reason or "the message did not arrive")
