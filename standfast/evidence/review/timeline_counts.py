"""Counts of a timeline by hour or a longer period, for its charts.

Rules
- Memory is bounded. If there are more than MOST_KEYS accounts, addresses, or customer records in an
  hour, further ones are not counted, and `is_complete` is False. If the timeline has more than
  MOST_HOURS hours, hours are merged into longer periods.
"""

from collections import Counter, defaultdict

from standfast.evidence.review.log_timeline import Event

MOST_KEYS = 1_000_000
MOST_HOURS = 20_000
HOUR = 3600 * 10**6


class Periods:
    """Counts by period of one hour or several hours."""

    def __init__(self) -> None:
        self.period = HOUR  # microseconds
        self.counts: Counter[int] = Counter()  # key: number of the period since 1970

    def add(self, at: int, count: int = 1) -> None:
        """Add to the count of the period that contains a time."""
        self.counts[at // self.period] += count
        if len(self.counts) > MOST_HOURS:
            self.merge(24)

    def merge(self, factor: int) -> None:
        """Merge periods into longer periods."""
        merged: Counter[int] = Counter()
        for number, count in self.counts.items():
            merged[number // factor] += count
        self.period *= factor
        self.counts = merged


class TimelineCounts:
    """Counts of the selected events, which are added in order of time."""

    def __init__(self) -> None:
        self.events, self.records = Periods(), Periods()
        self.accounts_by_address: defaultdict[str, set[str]] = defaultdict(set)
        self.is_complete = True
        self._pairs = 0
        self._hour = -1
        self._records_of_hour: set[int] = set()  # hashes of the records, which may be long

    def add(self, event: Event) -> None:
        """Count an event."""
        self.events.add(event.at)
        has_both = event.account and event.address
        if has_both and event.account not in self.accounts_by_address.get(event.address, ()):
            self._pairs += 1
            if self._pairs <= MOST_KEYS:
                self.accounts_by_address[event.address].add(event.account)
            else:
                self.is_complete = False
        if event.records:
            if event.at // HOUR != self._hour:
                self._hour, self._records_of_hour = event.at // HOUR, set()
            new = {*map(hash, event.records)} - self._records_of_hour
            if len(self._records_of_hour) + len(new) > MOST_KEYS:
                self.is_complete = False
                return
            self._records_of_hour |= new
            self.records.add(event.at, len(new))
