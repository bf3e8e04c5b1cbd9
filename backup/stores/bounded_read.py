"""Reading what anybody may have put: nothing larger than its kind can be is read.

- A listing tells a size, and somebody else may put something between a listing and a reading; so
  the reading itself ends one byte after what is allowed.
"""

from backup.errors import Damaged
from backup.stores import Store


def read_bounded(store: Store, name: str, most_bytes: int) -> bytes:
    """An object whole; `Damaged` when it has more bytes than any of its kind, `NotFound`."""
    data = store.get_range(name, 0, most_bytes + 1)
    if len(data) > most_bytes:
        raise Damaged(
            f"{name} has more than {most_bytes:,} bytes, and no such object has: it is not read."
            " Find out who put it there"
        )
    return data
