"""The fixtures of the flows' tests."""

from tests.memory_disk import tmp_path

__all__ = ["tmp_path"]
