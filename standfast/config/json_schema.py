"""JSON Schema of `standfast.toml` for editors.

    python -m standfast.config.json_schema > docs/standfast.schema.json

Rules
- The file in the repository is the output of this module; a test fails if they differ.
- The schema contains the keys, types, allowed words, bounds and descriptions. Only `standfast
  check` checks the rules that concern several keys, and the formats of texts.
"""

import json
import sys

from standfast.config.schema import Config


def json_schema() -> str:
    """Return the schema as JSON text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
        "title": "standfast.toml",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
