"""Extended attributes of an open file or folder, including access lists."""

import errno
import os

_MOST_BYTES = 256 * 1024


def read_xattrs(descriptor: int) -> tuple[tuple[tuple[bytes, bytes], ...], bool]:
    """Return the attributes sorted by name, and whether they are complete."""
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        return (), error.errno == errno.ENOTSUP
    if not names:  # nearly every file has none
        return (), True
    found = []
    size = 0
    is_whole = True
    for name in sorted(names, key=os.fsencode):
        try:
            content = os.getxattr(descriptor, name)
        except OSError as error:
            is_whole &= error.errno == errno.ENODATA  # removed meanwhile
            continue
        size += len(content)
        if size <= _MOST_BYTES:
            found.append((os.fsencode(name), content))
        else:
            is_whole = False
    return tuple(found), is_whole
