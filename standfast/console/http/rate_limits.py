"""Rate limits: token buckets that refuse at once and never delay.

Rules
- The number of buckets is limited. Beyond the limit, the bucket of the key with the oldest request
  is deleted, and the next request of this key starts with a full bucket.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class _Bucket:
    level: float
    filled_at: float


@dataclass(kw_only=True)
class Allowance:
    """A rate limit for each key, such as an address, with bursts.

    The buckets of the `most` latest keys are stored.
    """

    per_minute: float
    burst: int
    most: int = 4096
    monotonic: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def take(self, key: str = "") -> float:
        """Take one token; return 0, or the seconds until the next one."""
        now = self.monotonic()
        bucket = self._buckets.pop(key, None) or _Bucket(level=self.burst, filled_at=now)
        self._buckets[key] = bucket
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        grown = (now - bucket.filled_at) * self.per_minute / 60
        bucket.level, bucket.filled_at = min(self.burst, bucket.level + grown), now
        if bucket.level < 1:
            return (1 - bucket.level) * 60 / self.per_minute
        bucket.level -= 1
        return 0.0

    def put_back(self, key: str = "") -> None:
        """Return the token of a request that proved not to be a guess."""
        if bucket := self._buckets.get(key):
            bucket.level = min(self.burst, bucket.level + 1)
