"""Account directory of the centre: scim2-server with accounts in a file.

    python -m demo.directory_server PORT TOKEN_FILE STATE_FILE

Rules
- It is the publicly available server; only its storage is ours, so that after a restart it still
  knows which accounts are locked.
- The bearer token comes from a file: every user of the machine can see arguments.
"""

import json
import sys
from pathlib import Path
from typing import Any

from scim2_models import Resource, ResourceType, ScimProvider
from scim2_server.backend import InMemoryBackend
from scim2_server.provider import SCIMApplication
from scim2_server.utils import (
    load_default_resource_types,
    load_default_schemas,
    load_default_service_provider_config,
)
from werkzeug.serving import run_simple


class FileBackend(InMemoryBackend):
    """Accounts in memory, written to a file after each change."""

    def __init__(self, state_file: Path) -> None:
        super().__init__()
        self._state_file = state_file

    def load(self, models: dict[str, type[Resource[Any]]]) -> None:
        """Load the accounts that the last process stored."""
        if self._state_file.exists():
            self.resources = [
                models[saved["meta"]["resourceType"]].model_validate(saved)
                for saved in json.loads(self._state_file.read_text())
            ]

    def create_resource(
        self, resource_type: ResourceType, resource: Resource[Any]
    ) -> Resource[Any]:
        created = super().create_resource(resource_type, resource)
        self._save()
        return created

    def update_resource(
        self, resource_type: ResourceType, resource: Resource[Any]
    ) -> Resource[Any] | None:
        updated = super().update_resource(resource_type, resource)
        self._save()
        return updated

    def delete_resource(self, resource_type: ResourceType, object_id: str) -> bool:
        is_deleted = super().delete_resource(resource_type, object_id)
        self._save()
        return is_deleted

    def _save(self) -> None:
        draft = self._state_file.with_suffix(".draft")
        draft.write_text(
            json.dumps([resource.model_dump(mode="json") for resource in self.resources])
        )
        draft.replace(self._state_file)


def serve(port: int, token: str, state_file: Path) -> None:
    """Answer on loopback until the process is ended."""
    provider = ScimProvider.from_discovery(
        load_default_schemas().values(),
        load_default_resource_types().values(),
        config=load_default_service_provider_config(),
    )
    backend = FileBackend(state_file)
    application = SCIMApplication(backend, provider)
    application.register_bearer_token(token)
    backend.load(
        {
            kind.name: application.get_model(kind)
            for kind in load_default_resource_types().values()
            if kind.name
        }
    )
    run_simple("127.0.0.1", port, application, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]).read_text().strip(), Path(sys.argv[3]))
