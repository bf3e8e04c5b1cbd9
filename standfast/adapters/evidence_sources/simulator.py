"""The twin of a source of evidence, for exercises: it reads nothing, writes nothing, and says so.

Rules
- It answers as a source does, by token, so that a playbook runs the same way.
- No exercise leaves a folder behind that could pass for evidence.
"""

import threading

from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.records import EffectState, Order, Result, digest


class SimulatedEvidenceSource(EvidenceSource):
    """Remembers what it was asked for; safe to call from several threads."""

    def __init__(self, *, name: str) -> None:
        self.name = name
        self._collected: dict[tuple[str, str], Result] = {}
        self._lock = threading.Lock()

    def describe(self) -> str:
        """Say that nothing would be frozen."""
        return "exercise: nothing is read and nothing is frozen"

    def find(self, order: Order, custody: Custody) -> bool:
        """Was this order collected by this very twin?"""
        with self._lock:
            return (custody.incident, order.token) in self._collected

    def collect(self, order: Order, custody: Custody) -> Result:
        """Pretend; the digest is one of the order, so that it is the same at every try."""
        result = Result(
            target=order.target,
            state=EffectState.DONE,
            reason="exercise: nothing was read",
            facts={
                "exercise": True,
                "manifest": digest([custody.incident, self.name, order.token]),
                "files": 0,
                "unread": 0,
            },
        )
        with self._lock:
            return self._collected.setdefault((custody.incident, order.token), result)
