"""Adapters of an incident by its mode: plan, exercise or live.

A plan uses adapters only to read, and an exercise uses simulators. `live_adapters` and
`exercise_adapters` build the adapters. An effect is one change of one target, such as one locked
account; a queue has the effects of one kind for one adapter. This module maps queues to adapters,
and converts effects to calls. It decides nothing and stores nothing.

Rules
- An adapter is built when it is first needed: a missing mail password must not prevent a lock. It
  is built once: two instances would open twice the connections, and could exceed the provider's
  limit together.
- The adapters of a plan refuse every change. An exercise has no resolver of secrets and builds
  simulators only, so that no playbook can reach a live system.
- A notice is sent only as it was approved: its digest (a hash of its content) is compared with the
  approved digest again before it is sent.
- Orders and results are matched by their position, never by a name that a provider returned.
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
from standfast.playbook.actions.shared_arguments import AFFECTED
from standfast.playbook.planned_effects import FrozenNotice
from standfast.records import EffectState, Limits, Mode, Observed, Order, Result
from standfast.suggestions import known_names_hint

# Sections of the configuration with procedures (commands and requests that playbooks may call).
SECTIONS = ("commands", "requests")
Adapter = TypeVar("Adapter")
NoticeOf = Callable[[str, str, int], FrozenNotice]


class Adapters(ABC):
    """The adapters of one mode; safe for many threads."""

    mode: Mode

    def __init__(
        self,
        config: Config,
        custody: Custody,
        notice_of: NoticeOf,
        *,
        configured: Config | None = None,
        affected: Callable[[], Audience] | None = None,
    ) -> None:
        """Set the configuration of the incident and the current configuration.

        `config` is the configuration that was stored when the incident was opened, and `configured`
        the current configuration. `affected` returns the people whose data the incident exposed.
        """
        self.config = config
        self._configured = configured or config
        self._custody = custody
        self._affected = affected or _no_affected
        self._notice_of = notice_of
        self._built: dict[tuple[str, str], object] = {}
        self._building: dict[tuple[str, str], threading.Lock] = {}
        self._prepared: dict[tuple[str, str, int], Prepared] = {}

    # Adapters.

    def connector(self, name: str) -> Connector:
        """Return the connector of a directory; ConfigurationError if unknown."""
        return self._adapter("accounts", name, self._build_connector)

    def source(self, name: str) -> EvidenceSource:
        """Return an evidence source."""
        return self._adapter("evidence", name, self._build_source)

    def sender(self, name: str) -> Sender:
        """Return the sender of a channel."""
        return self._adapter("senders", name, self._build_sender)

    def procedure(self, name: str) -> Procedure:
        """Return `commands.NAME`, `requests.NAME`, or a built-in procedure."""
        section, dot, inner = name.partition(".")
        if dot and section in SECTIONS:
            return self._adapter(section, inner, lambda _: self._build_procedure(name))
        return self._build_once(("", name), lambda: self._build_procedure(name))

    def audience(self, name: str) -> Audience:
        """Read an audience now."""
        if name == AFFECTED:
            return self._affected()
        if name == "staff" and self.config.notices.staff_audience:
            name = self.config.notices.staff_audience
        if name not in self.config.audiences:
            raise ConfigurationError(_missing("audiences", name, self.config.audiences))
        return self._read_audience(name)

    @cached_property
    def templates(self) -> Mapping[str, Template]:
        """Return the templates.

        A template of the installation replaces a shipped one with the same name.
        """
        return read_templates(self.config.notices.templates)

    def default_sender(self) -> str:
        """Return the name of the sender for playbooks that name none."""
        if self.config.notices.sender:
            return self.config.notices.sender
        names = [name for name in self.config.senders if not self.prints(name)]
        # Prefer senders that can reach everybody to pagers, which reach one person on call.
        names = [name for name in names if not self._is_personal(name)] or names
        if len(names) == 1:
            return names[0]
        raise ConfigurationError(
            "notices: no sender is chosen. Add [senders.NAME], or set notices.sender."
        )

    def letters(self) -> str | None:
        """Return the name of the sender of letters, if there is one."""
        if self.config.notices.letters:
            return self.config.notices.letters
        names = [name for name in self.config.senders if self.prints(name)]
        return names[0] if len(names) == 1 else None

    def prints(self, sender: str) -> bool:
        """Return whether a sender writes letters instead of mails."""
        settings = self.config.senders.get(sender)
        return settings is not None and settings.kind == "letters"

    def _is_personal(self, sender: str) -> bool:
        is_pager = sender in self.config.on_call.pager_senders
        return is_pager and self.config.senders[sender].kind == "apprise"

    def settings(self, verb: str, connector: str) -> Mapping[str, str]:
        """Return the digests of the settings of one adapter, by adapter name."""
        return adapter_settings_digests(self.config, verb, connector)

    # Calls.

    def limits(self, queue: EffectQueue) -> Limits:
        """Return the call limits of the adapter of a queue."""
        return self._queue_adapter(queue).limits

    def observe(self, queue: EffectQueue, rows: Sequence[EffectRow]) -> list[Observed]:
        """Look up each effect's target; return whether the effect happened.

        Changes nothing.
        """
        adapter = self._queue_adapter(queue)
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
        """Execute the effects of a batch; return one result for each, in order."""
        if self.mode is Mode.PLAN:
            raise Refused("a plan changes nothing")
        adapter = self._queue_adapter(batch.queue)
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
        """Return the failover sender of a queue's sender; None if there is none."""
        if ACTIONS[queue.verb].carrier is not Carrier.SENDERS:
            return None
        settings = self.config.senders.get(queue.connector)
        # The chain of failovers has no cycle: `config.cross_references` refuses one.
        return None if settings is None else settings.failover

    def refuse_unsupported(self, verb: str, connector: str) -> None:
        """Raise Unsupported if the adapter lacks a verb; planning calls it."""
        needed = ACTIONS[verb].method
        if needed not in self.connector(connector).verbs:
            wanted = self.connector(connector).wants.get(needed, "")
            raise Unsupported(
                f"directory {connector!r}: cannot {needed}" + (f": {wanted}" if wanted else "")
            )

    def close(self) -> None:
        """Close the connections of all adapters; a later call opens them again."""
        for adapter in list(self._built.values()):
            if isinstance(adapter, Connector | Sender | Procedure):
                adapter.close()

    # Internal functions.

    def _queue_adapter(self, queue: EffectQueue) -> Connector | EvidenceSource | Sender | Procedure:
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
            except (Refused, Damaged) as error:  # nothing of this message was sent
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
            raise Refused("the message differs from the planned one. Nothing was sent.")
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
        return self._build_once((section, name), lambda: build(name))

    def added_since(self, section: str) -> str:
        """Return the names that were configured after the incident was opened."""
        added = sorted(set(getattr(self._configured, section)) - set(getattr(self.config, section)))
        if not added:
            return ""
        return (
            f"{', '.join(added)}: added or renamed after this incident was opened. Open another "
            "incident for it, or configure its old name too."
        )

    def _lacking(self, section: str, name: str) -> str:
        declared: Mapping[str, object] = getattr(self._configured, section)
        reasons = [] if name in declared else [_missing(section, name, declared)]
        return "; ".join(filter(None, [*reasons, self.added_since(section)]))

    def _build_once(self, key: tuple[str, str], build: Callable[[], Adapter]) -> Adapter:
        """Build an adapter once, at its first use.

        Other threads are not blocked while it is built.
        """
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
    """Return whether an account's state shows that the effect happened."""
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
            # A lock also ends sessions. If the state does not show that they ended, the lock is
            # repeated; the connector refuses the lock if another account has that name now.
            is_locked = "revoke" not in connector.verbs or state.live_sessions == 0
            is_locked = is_locked and state.is_enabled is False
            happened = is_locked and not seen.is_another_than(row.prior or {})
        case "undo":
            happened = state.prior == row.prior
        case _:
            # Ending sessions or reading again is harmless: repeat it.
            happened = False
    return replace(seen, happened=happened)


def _procedure_observed(verb: str, row: EffectRow, seen: Observed) -> Observed:
    """Return whether a procedure's effect happened.

    The undo of a procedure happened if the change of the procedure is not in effect now.
    """
    if row.state is EffectState.PLANNED and not seen.is_readable:
        # If the target cannot be observed, the procedure runs without a prior state for an undo.
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


def _no_affected() -> Audience:
    raise ConfigurationError(
        "audience 'affected': it exists only in an open incident. Open the incident first."
    )


def _missing(section: str, name: str, declared: Mapping[str, object]) -> str:
    return f"the configuration has no [{section}.{name}]; {known_names_hint(name, declared)}"
