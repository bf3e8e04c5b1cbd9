"""Folders in memory: no test here examines a disk."""

from tests.memory_disk import tmp_path

__all__ = ["tmp_path"]
