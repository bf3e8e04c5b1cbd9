"""Bounded reads of objects that anybody may have put.

The size in a listing is not sufficient, because somebody may replace the object before it is read.
So each read is limited to one byte more than the largest allowed size.
"""

from backup.errors import Damaged
from backup.stores import Store


def read_bounded(store: Store, name: str, max_bytes: int) -> bytes:
    """Read a whole object; raise `Damaged` if it is larger than `max_bytes`."""
    data = store.get_range(name, 0, max_bytes + 1)
    if len(data) > max_bytes:
        raise Damaged(
            f"{name}: more than {max_bytes:,} bytes, which no such object has; it is not read."
            " Find out who put it there"
        )
    return data
