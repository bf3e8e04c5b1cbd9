"""Schema, loading and documentation of `standfast.toml`.

This package defines the format of `standfast.toml` and every message about the file.
`standfast/secrets.py` resolves the secrets that the file names; other packages implement the
settings.

Rules
- The schema is the only source: the reference in `docs/` and the file that `standfast init` writes
  are generated from it.
- Unknown keys are refused; the message names the nearest known key.
- A loaded configuration contains no secret and cannot be changed.
"""

from standfast.config.loader import load
from standfast.config.schema import Config
from standfast.config.value_types import SecretReference
from standfast.config_file import find_config

__all__ = ["Config", "SecretReference", "find_config", "load"]
