"""The fixtures of the demo's tests."""

from tests.demo.small_tour import tour
from tests.memory_disk import tmp_path

__all__ = ["tmp_path", "tour"]
