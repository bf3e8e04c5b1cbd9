"""JSON Schema of `standfast.toml`, for editors: `docs/standfast.schema.json`.

    python -m standfast.config.json_schema > docs/standfast.schema.json

Rules
- The file in the repository is what this module writes; a test fails when it is not.
- It has the types, keys, words, bounds and descriptions. Rules across keys, and the forms of texts,
  are checked by `standfast check` alone.
"""

import json
import sys

from standfast.config.schema import Config


def json_schema() -> str:
    """Return the whole schema as JSON text."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
        "title": "standfast.toml",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
