"""The fixtures of the demo's tests."""

from tests.demo.small_tour import tour

__all__ = ["tour"]
