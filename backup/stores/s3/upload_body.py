"""Upload body: an object in memory, offered to boto3 as a file.

boto3 copies an upload that is passed as bytes. From a file, it reads small pieces. So this class
saves the memory for a copy of the object.
"""

import io


class UploadBody(io.RawIOBase):
    """Bytes in memory, as a readable file."""

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data
        self._at = 0

    def __len__(self) -> int:
        return len(self._data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, or the rest."""
        start = self._at
        self._at = len(self._data) if size < 0 else min(start + size, len(self._data))
        return bytes(self._data[start : self._at])

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at
