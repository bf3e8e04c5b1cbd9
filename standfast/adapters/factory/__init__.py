"""What an incident can reach, by its mode: readers for a plan, twins for an exercise, or all live.

`live` and `exercise` build the adapters; this file owns which of them carries which queue, and how
an effect becomes its call and back. It decides nothing and keeps nothing.

Rules
- Adapters are built when first needed: a missing mail password must not keep anyone from locking.
  Each is built once: two would have twice the connections, and count a provider's limit twice.
- A plan's adapters refuse every act. An exercise is handed no resolver of secrets and builds twins
  only, so nothing live can be reached from it, whatever a playbook says.
- A notice is sent only as it was approved: its digest is compared once more before it leaves.
- What was asked for and what came back are matched by order, never by a name that a provider gave.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar, cast

from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.adapters.factory.settings_digest import adapter_settings_digests
from standfast.adapters.procedures import Procedure
from standfast.adapters.senders import Message, Sender
from standfast.config import Config
from standfast.errors import ConfigurationError, Damaged, Refused, Unsupported
from standfast.ledger.effects.effect_rows import Batch, EffectQueue, EffectRow
from standfast.notices.audience import Audience
from standfast.notices.prepared_notice import Prepared
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import Template
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier, Use
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.planned_effects import FrozenNotice
from standfast.records import EffectState, Limits, Mode, Observed, Order, Result
from standfast.suggestions import known_names_hint

# Where the configuration has what playbooks may call.
SECTIONS = ("commands", "requests")
Adapter = TypeVar("Adapter")
NoticeOf = Callable[[str, str, int], FrozenNotice]


class Outside(ABC):
    """The adapters of one mode. Safe for many threads."""

    mode: Mode

    def __init__(
        self,
        config: Config,
        custody: Custody,
        notice_of: NoticeOf,
        *,
        configured: Config | None = None,
    ) -> None:
        """`configured` is all there is now, where `config` is what there was for an incident."""
        self.config = config
        self._configured = configured or config
        self._custody = custody
        self._notice_of = notice_of
        self._built: dict[tuple[str, str], object] = {}
        self._building: dict[tuple[str, str], threading.Lock] = {}
        self._prepared: dict[tuple[str, str, int], Prepared] = {}

    # what there is

    def connector(self, name: str) -> Connector:
        """Give one directory; ConfigurationError when the configuration does not name it."""
        return self._adapter("accounts", name, self._build_connector)

    def source(self, name: str) -> EvidenceSource:
        """Give one evidence source."""
        return self._adapter("evidence", name, self._build_source)

    def sender(self, name: str) -> Sender:
        """Give one channel of notices."""
        return self._adapter("senders", name, self._build_sender)

    def procedure(self, name: str) -> Procedure:
        """Give what may be called: `commands.NAME`, `requests.NAME`, or one of our own acts."""
        section, dot, inner = name.partition(".")
        if dot and section in SECTIONS:
            return self._adapter(section, inner, lambda _: self._build_procedure(name))
        return self._once(("", name), lambda: self._build_procedure(name))

    def audience(self, name: str) -> Audience:
        """Read one audience now."""
        if name == "staff" and self.config.notices.staff_audience:
            name = self.config.notices.staff_audience
        if name not in self.config.audiences:
            raise ConfigurationError(_missing("audiences", name, self.config.audiences))
        return self._read_audience(name)

    @cached_property
    def templates(self) -> Mapping[str, Template]:
        """The shipped notices, and the place's own before them."""
        return read_templates(self.config.notices.templates)

    def default_sender(self) -> str:
        """Give the name of the channel to use where a playbook names none."""
        if self.config.notices.sender:
            return self.config.notices.sender
        there = [name for name in self.config.senders if not self.prints(name)]
        if len(there) == 1:
            return there[0]
        raise ConfigurationError(
            "no sender of notices is chosen; add [senders.NAME], or name one as notices.sender"
        )

    def letters(self) -> str | None:
        """Give the name of the channel for people without an e-mail address, if there is one."""
        if self.config.notices.letters:
            return self.config.notices.letters
        there = [name for name in self.config.senders if self.prints(name)]
        return there[0] if len(there) == 1 else None

    def prints(self, sender: str) -> bool:
        """Does this channel write letters, and carry no mail?"""
        settings = self.config.senders.get(sender)
        return settings is not None and settings.kind == "letters"

    def settings(self, verb: str, connector: str) -> Mapping[str, str]:
        """Return the digests of the settings of one adapter."""
        return adapter_settings_digests(self.config, verb, connector)

    # acting

    def limits(self, queue: EffectQueue) -> Limits:
        """Say how the adapter of a queue is to be called."""
        return self._of(queue).limits

    def observe(self, queue: EffectQueue, rows: Sequence[EffectRow]) -> list[Observed]:
        """Look at each effect's target without changing it, and say whether the effect happened."""
        adapter = self._of(queue)
        if isinstance(adapter, Connector):
            states = adapter.observe([row.as_order().target for row in rows])
            return [
                _account_observed(queue.verb, row, state, adapter)
                for row, state in zip(rows, states, strict=True)
            ]
        if isinstance(adapter, EvidenceSource):
            return [
                Observed(target=row.target, happened=adapter.find(row.as_order(), self._custody))
                for row in rows
            ]
        if isinstance(adapter, Procedure):
            found_in_effect = adapter.observe([row.as_order() for row in rows])
            return [
                _procedure_observed(queue.verb, row, seen)
                for row, seen in zip(rows, found_in_effect, strict=True)
            ]
        found = adapter.find([row.token for row in rows])
        return [
            Observed(target=row.target, happened=happened)
            for row, happened in zip(rows, found, strict=True)
        ]

    def call(self, batch: Batch) -> list[Result]:
        """Carry one claimed batch out; one result an effect, in order."""
        if self.mode is Mode.PLAN:
            raise Refused("a plan acts on nothing")
        adapter = self._of(batch.queue)
        orders = batch.orders
        if isinstance(adapter, Connector):
            results: list[Result] = getattr(adapter, ACTIONS[batch.queue.verb].method)(orders)
            return results
        if isinstance(adapter, EvidenceSource):
            return [adapter.collect(order, self._custody) for order in orders]
        if isinstance(adapter, Procedure):
            return adapter.undo(orders) if _is_undo(batch.queue.verb) else adapter.run(orders)
        return self._send(adapter, batch, orders)

    def takes_over(self, queue: EffectQueue) -> str | None:
        """Give the sender that is handed what this queue's could not deliver; None for the last."""
        if ACTIONS[queue.verb].carrier is not Carrier.SENDERS:
            return None
        settings = self.config.senders.get(queue.connector)
        return None if settings is None else settings.failover  # never a circle: `findings`

    def refuse_unsupported(self, verb: str, connector: str) -> None:
        """Raise Unsupported when the adapter cannot do this; planning calls it."""
        needed = ACTIONS[verb].method
        if needed not in self.connector(connector).verbs:
            wanted = self.connector(connector).wants.get(needed, "")
            raise Unsupported(
                f"directory {connector!r} cannot {needed}" + (f": {wanted}" if wanted else "")
            )

    def close(self) -> None:
        """Let go of the connections that adapters keep; a later call opens them again."""
        for adapter in list(self._built.values()):
            if isinstance(adapter, Connector | Sender | Procedure):
                adapter.close()

    # inside

    def _of(self, queue: EffectQueue) -> Connector | EvidenceSource | Sender | Procedure:
        match ACTIONS[queue.verb].carrier:
            case Carrier.ACCOUNTS:
                return self.connector(queue.connector)
            case Carrier.EVIDENCE:
                return self.source(queue.connector)
            case Carrier.SENDERS:
                return self.sender(queue.connector)
            case Carrier.PROCEDURES:
                return self.procedure(queue.connector)

    def _send(self, sender: Sender, batch: Batch, orders: Sequence[Order]) -> list[Result]:
        messages: list[Message] = []
        refused: dict[int, Result] = {}
        for place, (row, order) in enumerate(zip(batch.effects, orders, strict=True)):
            try:
                messages.append(self._message(row, order))
            except (Refused, Damaged) as error:  # whatever it is, nothing of this one left
                state = EffectState.REFUSED if isinstance(error, Refused) else EffectState.FAILED
                refused[place] = Result(target=order.target, state=state, reason=str(error))
        sent = iter(sender.send(messages) if messages else [])
        return [refused.get(place) or next(sent) for place in range(len(orders))]

    def _message(self, row: EffectRow, order: Order) -> Message:
        details = cast("Mapping[str, str]", order.details)
        if row.verb == PAGE:
            return Message(
                token=row.token,
                address=order.target,
                subject=details["subject"],
                text=details["text"],
                html=details["html"],
                language=details["language"],
            )
        values = cast("Mapping[str, str]", order.details["values"])
        prepared = self._notice(row)
        filled = prepared.fill(details["language"], values, row.token, address=order.target)
        if filled.digest != details["digest"]:
            raise Refused("the message is not the one that was planned; nothing was sent")
        return Message(
            token=row.token,
            address=order.target,
            subject=filled.subject,
            text=filled.text,
            html=filled.html,
            language=details["language"],
            parts=prepared.languages[details["language"]],
            shown=filled.shown,
            escaped=filled.escaped,
        )

    def _notice(self, row: EffectRow) -> Prepared:
        key = (row.incident, row.step, row.round)
        if key not in self._prepared:
            self._prepared[key] = Prepared.from_json(self._notice_of(*key).body)
        return self._prepared[key]

    def _adapter(self, section: str, name: str, build: Callable[[str], Adapter]) -> Adapter:
        if name not in getattr(self.config, section):
            raise ConfigurationError(self._lacking(section, name))
        return self._once((section, name), lambda: build(name))

    def added_since(self, section: str) -> str:
        """Name what is configured now and was not when the incident was opened; or nothing."""
        added = sorted(set(getattr(self._configured, section)) - set(getattr(self.config, section)))
        if not added:
            return ""
        return (
            f"{', '.join(added)} came, or was renamed, after this incident was opened, which does "
            "without: open another one for it, or configure it under its old name as well"
        )

    def _lacking(self, section: str, name: str) -> str:
        there: Mapping[str, object] = getattr(self._configured, section)
        told = [] if name in there else [_missing(section, name, there)]
        return "; ".join(filter(None, [*told, self.added_since(section)]))

    def _once(self, key: tuple[str, str], build: Callable[[], Adapter]) -> Adapter:
        """Build an adapter at its first use, and that once; it keeps no thread from another."""
        if key not in self._built:
            with self._building.setdefault(key, threading.Lock()):
                if key not in self._built:
                    self._built[key] = build()
        return cast("Adapter", self._built[key])

    @abstractmethod
    def _build_connector(self, name: str) -> Connector: ...

    @abstractmethod
    def _build_source(self, name: str) -> EvidenceSource: ...

    @abstractmethod
    def _build_sender(self, name: str) -> Sender: ...

    @abstractmethod
    def _build_procedure(self, name: str) -> Procedure: ...

    @abstractmethod
    def _read_audience(self, name: str) -> Audience: ...


def _account_observed(
    verb: str, row: EffectRow, state: AccountState, connector: Connector
) -> Observed:
    """Say whether an account's state shows that the effect happened."""
    seen = Observed(
        target=row.target,
        exists=state.exists,
        is_readable=state.exists or not state.reason,
        state=state.prior,
        identity=connector.identity,
        reason=state.reason,
    )
    match ACTIONS[verb].method:
        case "lock":
            # A lock ends sessions as well. Where nothing shows that it did, let it be done anew;
            # done to another account of that name, it is refused, and says why.
            is_shut = "revoke" not in connector.verbs or state.live_sessions == 0
            is_shut = is_shut and state.is_enabled is False
            happened = is_shut and not seen.is_another_than(row.prior or {})
        case "undo":
            happened = state.prior == row.prior
        case _:
            # Ending sessions again or reading again harms nobody: let it be done anew.
            happened = False
    return replace(seen, happened=happened)


def _procedure_observed(verb: str, row: EffectRow, seen: Observed) -> Observed:
    """Say whether a procedure's effect happened; an undo happened when nothing is in effect."""
    if row.state is EffectState.PLANNED and not seen.is_readable:
        # That nobody can look at it now keeps no one from doing it; an undo then asks no more.
        return Observed(target=row.target, state=seen.state)
    happened = seen.happened
    if happened is not None and _is_undo(verb):
        happened = not happened
    return Observed(
        target=row.target,
        is_readable=seen.is_readable,
        happened=happened,
        state=seen.state,
        reason=seen.reason,
    )


def _is_undo(verb: str) -> bool:
    return ACTIONS[verb].use is Use.UNDO


def _missing(section: str, name: str, there: Mapping[str, object]) -> str:
    return f"the configuration has no [{section}.{name}]; {known_names_hint(name, there)}"
