"""The extended attributes of an open file or folder; access lists are among them."""

import errno
import os

_MOST_BYTES = 256 * 1024


def xattrs_of(descriptor: int) -> tuple[tuple[tuple[bytes, bytes], ...], bool]:
    """The extended attributes, sorted by name, and whether those are all."""
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        return (), error.errno == errno.ENOTSUP
    if not names:  # as nearly every file has none
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
