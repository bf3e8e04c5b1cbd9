"""Built-in procedures, such as a retention hold or a recovery.

A playbook is a file that describes the response to one kind of incident. A procedure is something
that a playbook may call: a configured command or HTTP request, or one of these functions of
Standfast. All procedures are planned, approved and recorded in the same way. Other modules
implement the functions; this module adapts them to the class `Procedure`.

Rules
- A built-in procedure runs in this process and ends with it. An interrupted procedure is therefore
  repeated, unless its result exists already.
- An exercise replaces these procedures by simulators with the same names.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from standfast.adapters.procedures import Procedure
from standfast.deadlines.clock_starts import QUESTIONS
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import StandfastError, UsageError
from standfast.evidence.review.indicator_search import read_indicators
from standfast.evidence.review.indicator_timeline import wanted_of
from standfast.ledger.incidents.incident_facts import Statement
from standfast.playbook.actions.backup_protect import KEEPER
from standfast.playbook.actions.deadlines_start import LEDGER
from standfast.playbook.actions.drill_last_clean_point import DRILL
from standfast.playbook.actions.evidence_review import REVIEWER
from standfast.playbook.actions.notices_prepare import PREVIEW
from standfast.playbook.actions.service_recover import RECOVERY, RETURN
from standfast.records import EffectState, JsonObject, Limits, Order, Result, moment, timestamp
from standfast.usecases.backups.retention import run_retention
from standfast.usecases.backups.retention_holds import create_hold, exists, release_hold
from standfast.usecases.drills.clean_point_search import last_clean_point
from standfast.usecases.evidence.playbook_review import review_evidence
from standfast.usecases.recovery.recovery_journal import Stopped
from standfast.usecases.recovery.set_plan import plan_set
from standfast.usecases.recovery.set_recovery import recover_set, undo_set

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation


def built_in_procedures(
    installation: "Installation", incident_id: str, author: str
) -> Mapping[str, Callable[[], Procedure]]:
    """Return the builder of each built-in procedure.

    `author` is recorded as the author of each stated fact. A fact is a dated statement that starts
    legal deadlines, such as the time of awareness of a breach.
    """
    return {
        KEEPER: lambda: _RetentionHold(installation, incident_id),
        REVIEWER: lambda: _EvidenceReview(installation, incident_id),
        DRILL: lambda: _CleanPointSearch(installation),
        PREVIEW: lambda: _NoticePreview(),
        LEDGER: lambda: _FactStatement(installation, incident_id, author),
        RECOVERY: lambda: _SetRecovery(installation, incident_id),
    }


class _BuiltInProcedure(Procedure):
    """A procedure that can be repeated without harm.

    After an interruption, `_is_in_effect` is called to find out whether the procedure was done. By
    default it returns False, and the procedure is repeated.
    """

    limits = Limits(batch=1, workers=2, timeout_seconds=600.0, is_local=True)
    can_observe = True
    changes_nothing = True

    def __init__(self, name: str) -> None:
        self.name = name

    def _is_in_effect(self, order: Order) -> bool | None:
        return False

    def _run(self, order: Order) -> Result:
        try:
            return self._execute(order)
        except StandfastError as error:
            return Result(target=order.target, state=EffectState.FAILED, reason=str(error))

    def _execute(self, order: Order) -> Result:
        raise NotImplementedError

    def _undo(self, order: Order) -> Result:
        raise UsageError(f"{self.name}: it changes nothing, so it has no undo")


class _RetentionHold(_BuiltInProcedure):
    """A retention hold: an order that keeps recovery points from expiring.

    The object locks in the vault (the store of the backups) are extended at once.
    """

    can_undo = True
    changes_nothing = False

    def __init__(self, installation: "Installation", incident_id: str) -> None:
        super().__init__(KEEPER)
        self._installation = installation
        self._incident = incident_id

    def _is_in_effect(self, order: Order) -> bool:
        return exists(self._installation, self._incident)

    def _execute(self, order: Order) -> Result:
        create_hold(self._installation, self._incident)
        try:
            outcome = run_retention(self._installation)
        except StandfastError as error:
            # The hold is set, as requested. The next retention run extends the object locks.
            return Result(
                target=order.target,
                state=EffectState.DONE,
                reason=f"held; its locks could not be extended now: {error}",
                facts={"extended": 0},
            )
        extended = len(outcome.result.extended)
        return Result(
            target=order.target,
            state=EffectState.DONE,
            reason=f"held; {extended} locks were extended",
            facts={"extended": extended, "problems": len(outcome.result.problems)},
        )

    def _undo(self, order: Order) -> Result:
        release_hold(self._installation, self._incident)
        return Result(target=order.target, state=EffectState.DONE)


class _EvidenceReview(_BuiltInProcedure):
    """A search of the incident's evidence, sealed copies of logs and files.

    It stores a timeline in the evidence folders.
    """

    def __init__(self, installation: "Installation", incident_id: str) -> None:
        super().__init__(REVIEWER)
        self._installation = installation
        self._incident = incident_id

    def fit(self, details: JsonObject) -> None:
        wanted_of(_texts(details, "indicators"), _texts(details, "accounts"))

    def _execute(self, order: Order) -> Result:
        reviewed = review_evidence(
            self._installation,
            self._incident,
            order.token,
            _texts(order.details, "indicators"),
            _texts(order.details, "accounts"),
        )
        return Result(
            target=order.target,
            # The review leaves out altered files. Its result must not look like "nothing found".
            state=EffectState.DONE if reviewed.is_whole else EffectState.FAILED,
            reason=reviewed.reason,
            facts=reviewed.as_json(),
        )


class _CleanPointSearch(_BuiltInProcedure):
    """A search for the newest recovery point without signs of the intrusion.

    A recovery point is one restorable state of a backup set.
    """

    limits = Limits(batch=1, workers=1, timeout_seconds=86_400.0, is_local=True)

    def __init__(self, installation: "Installation") -> None:
        super().__init__(DRILL)
        self._installation = installation

    def fit(self, details: JsonObject) -> None:
        read_indicators(_texts(details, "indicators"))

    def _execute(self, order: Order) -> Result:
        wanted = read_indicators(_texts(order.details, "indicators"))
        found = last_clean_point(self._installation, order.target, wanted)
        return Result(
            target=order.target,
            state=EffectState.DONE if found.point else EffectState.FAILED,
            reason=found.reason,
            facts=found.as_json(),
        )


class _SetRecovery(_BuiltInProcedure):
    """The recovery of a backup set; its undo puts the previous data back.

    A backup set is a group of sources that are backed up together. The sets are recovered one after
    another. The sets of a service follow the sets of the services on which it depends.
    """

    limits = Limits(batch=1, workers=1, timeout_seconds=86_400.0, is_local=True)
    can_undo = True
    changes_nothing = False

    def __init__(self, installation: "Installation", incident_id: str) -> None:
        super().__init__(RECOVERY)
        self._installation = installation
        self._incident = incident_id

    def prepare(self, target: str, details: JsonObject) -> JsonObject:
        point, services = str(details["point"]), _texts(details, "services")
        return plan_set(
            self._installation,
            self._incident,
            target,
            point,
            services,
            is_preview=bool(details["is_preview"]),
        ).as_json()

    def _is_in_effect(self, order: Order) -> bool:
        # Report an interrupted recovery as not in effect. During an interrupted undo, report the
        # recovery as still in effect. In both cases the call is repeated, and continues where it
        # was interrupted.
        return order.verb == RETURN

    def _execute(self, order: Order) -> Result:
        try:
            recovered = recover_set(self._installation, self._incident, order)
        except Stopped as error:
            return Result(
                target=order.target,
                state=EffectState.FAILED,
                reason=str(error),
                retry_after_seconds=0.0,
                is_untried=True,
            )
        return Result(
            target=order.target,
            state=EffectState.DONE,
            reason=f"recovered from {recovered.point}",
            facts=recovered.as_json(),
        )

    def _undo(self, order: Order) -> Result:
        try:
            undo_set(self._installation, self._incident, order)
        except StandfastError as error:
            return Result(target=order.target, state=EffectState.FAILED, reason=str(error))
        return Result(target=order.target, state=EffectState.DONE)


class _NoticePreview(_BuiltInProcedure):
    """The preview of a notice (a message to the people that are concerned).

    The notice is rendered and stored when the step is planned. The execution only confirms it.
    """

    def __init__(self) -> None:
        super().__init__(PREVIEW)

    def _execute(self, order: Order) -> Result:
        details = order.details
        return Result(
            target=order.target,
            state=EffectState.DONE,
            reason=f"written for {details['recipients']} recipients; nothing was sent",
            facts=details,
        )


class _FactStatement(_BuiltInProcedure):
    """A statement of a fact, with its author and its time.

    If the playbook states no time, the time is the latest time at which a step in `needs` was
    answered or ended. If `needs` is empty, it is the time at which the incident was opened. It is
    never the time at which the statement is executed.
    """

    def __init__(self, installation: "Installation", incident_id: str, author: str) -> None:
        super().__init__(LEDGER)
        self._installation = installation
        self._incident = incident_id
        self._author = author

    def fit(self, details: JsonObject) -> None:
        if details.get("fact") not in QUESTIONS:
            raise UsageError(f"fact: no legal clock starts with it. Use: {', '.join(QUESTIONS)}.")

    def _execute(self, order: Order) -> Result:
        now, details = self._installation.clock(), order.details
        name, given = str(details["fact"]), details.get("at")
        known = self._installation.ledger.facts.of_incident(self._incident).latest(
            FactKind.TIME, name
        )
        if known is not None and given is None:
            # A statement without a time does not move the start of a running legal deadline.
            return self._fact_result(order, known.at or now, is_news=False)
        at = moment(str(given)) if given else self._known_since(_texts(details, "needs"))
        statement = Statement(
            kind=FactKind.TIME, name=name, at=at, reference=str(details.get("note") or "")
        )
        is_news = self._installation.ledger.facts.state(
            self._incident, statement, self._author, now
        )
        return self._fact_result(order, at, is_news=is_news)

    def _known_since(self, steps: Sequence[str]) -> datetime:
        ledger = self._installation.ledger
        times: dict[str, dict[str, datetime]] = {"step.answered": {}, "step.finished": {}}
        for event in ledger.timeline(self._incident) if steps else ():
            times.get(event.action, {})[str(event.detail.get("step"))] = event.at
        answered, ended = times.values()
        known = [at for name in steps if (at := answered.get(name) or ended.get(name))]
        return max(known, default=ledger.incidents.get(self._incident).opened_at)

    def _fact_result(self, order: Order, at: datetime, *, is_news: bool) -> Result:
        return Result(
            target=order.target,
            state=EffectState.DONE,
            reason="" if is_news else "the fact was stated already",
            facts={"at": timestamp(at), "author": self._author},
        )


def _texts(details: JsonObject, key: str) -> list[str]:
    return [str(text) for text in cast("Sequence[str]", details.get(key) or ())]
