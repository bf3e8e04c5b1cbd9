"""Extended attributes of an open file or folder, including access lists."""

import errno
import os

MOST_ATTRIBUTE_BYTES = 256 * 1024


def read_xattrs(descriptor: int) -> tuple[tuple[tuple[bytes, bytes], ...], bool]:
    """Return the attributes, sorted by name, and whether they are complete.

    They are incomplete if an attribute cannot be read, or if all together have more than 256 KiB.
    """
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        return (), error.errno == errno.ENOTSUP
    if not names:  # the usual case
        return (), True
    found = []
    size = 0
    is_whole = True
    for name in sorted(names, key=os.fsencode):
        try:
            content = os.getxattr(descriptor, name)
        except OSError as error:
            is_whole &= error.errno == errno.ENODATA  # the attribute was removed after the listing
            continue
        size += len(content)
        if size <= MOST_ATTRIBUTE_BYTES:
            found.append((os.fsencode(name), content))
        else:
            is_whole = False
    return tuple(found), is_whole
