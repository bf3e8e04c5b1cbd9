"""`standfast.toml`: its schema, how it is found and read, and how it is written down for people.

Owns the shape of the file and every message about it. Leaves the secrets it names to
`standfast/secrets.py`, and what the settings do to the rooms they configure.

Rules
- One schema is the only truth: the reference in `docs/` and the file that `standfast init` writes
  are made from it.
- Unknown keys are refused with the nearest known one.
- Nothing in a loaded configuration is secret, and all of it is frozen.
"""

from standfast.config.load import load
from standfast.config.schema import Config
from standfast.config.value_types import SecretReference
from standfast.config_file import find_config

__all__ = ["Config", "SecretReference", "find_config", "load"]
