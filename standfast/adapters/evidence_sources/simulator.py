"""Simulator of an evidence source; it reads and writes nothing.

Rules
- The simulator finds earlier orders (requests to collect) by their token, as a real source does, so
  that a playbook runs in the same way.
- An exercise creates no folder that somebody could mistake for evidence.
"""

import threading

from standfast.adapters.evidence_sources import Custody, EvidenceSource
from standfast.records import EffectState, Order, Result, digest


class SimulatedEvidenceSource(EvidenceSource):
    """A source that remembers its orders; safe for several threads."""

    def __init__(self, *, name: str) -> None:
        self.name = name
        self._collected: dict[tuple[str, str], Result] = {}
        self._lock = threading.Lock()

    def describe(self) -> str:
        """Return a line that states that nothing would be collected."""
        return "exercise: nothing is read and nothing is frozen"

    def find(self, order: Order, custody: Custody) -> bool:
        """Return whether this simulator collected the order."""
        with self._lock:
            return (custody.incident, order.token) in self._collected

    def collect(self, order: Order, custody: Custody) -> Result:
        """Return a simulated result.

        The digest depends only on the order, so that it is the same in every attempt.
        """
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
