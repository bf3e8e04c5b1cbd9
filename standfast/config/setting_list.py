"""List of the paths and the secret references that a configuration has."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from standfast.config.base_section import Section
from standfast.config.schema import Config
from standfast.config.toml_writer import KeyPath, key_text
from standfast.config.value_types import SecretReference


def secrets_of(config: Config) -> Iterator[tuple[str, SecretReference]]:
    """Yield the key and the reference of each secret."""
    for key, value in _settings((), config):
        if isinstance(value, SecretReference):
            yield key_text(key), value


def paths_of(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the key and the absolute path of each file and folder."""
    for key, value in _settings((), config):
        if isinstance(value, Path):
            yield key_text(key), value


def _settings(key: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:
    match value:
        case Section():
            for name, inner in value:
                yield from _settings((*key, name), inner)
        case Mapping():
            for name, inner in value.items():
                yield from _settings((*key, str(name)), inner)
        case list() | tuple():
            for number, inner in enumerate(value):
                yield from _settings((*key, number), inner)
        case _:
            yield key, value
