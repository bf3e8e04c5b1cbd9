"""Adapters by the `kind` of their section: connectors, senders, sources.

Rules
- A kind is the name of a module or package next to the base class of its family, and that module
  has one class of the family. No list of kinds has to be maintained.
- The module is imported when its adapter is built: a command that locks nothing loads no connector.
"""

from importlib import import_module
from typing import Any, Protocol


class SectionOfKind(Protocol):
    """Settings of an adapter; each kind has its own class."""

    @property
    def kind(self) -> str: ...


def build_adapter(family: type, name: str, settings: SectionOfKind, context: object) -> Any:
    """Build an adapter with its secrets; SecretMissing if one is missing.

    The result is an instance of `family`, which is an abstract class.
    """
    module = import_module(f"{family.__module__}.{settings.kind}")
    classes: list[Any] = [
        value
        for value in vars(module).values()
        # Base classes of the family are imported there too.
        if isinstance(value, type)
        and issubclass(value, family)
        and value.__module__.startswith(module.__name__)
    ]
    (adapter_class,) = classes
    return adapter_class(name, settings, context)
