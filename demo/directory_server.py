"""Account directory of the centre: scim2-server with accounts in a file.

    python -m demo.directory_server PORT TOKEN_FILE STATE_FILE SESSIONS_FILE CONTROL_FILE

Rules
- `/userinfo` represents an application: it accepts the token of a session only while the session's
  account is active. The sessions are in a file, one in each line. A second file has the session of
  a test account, which is always accepted.
- The server is the published scim2-server. Only the storage is part of the demo, so that locked
  accounts stay locked after a restart.
- The bearer token comes from a file, because every user of the machine can see the arguments of a
  process.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scim2_models import Resource, ResourceType, ScimProvider
from scim2_server.backend import InMemoryBackend
from scim2_server.provider import SCIMApplication
from scim2_server.utils import (
    load_default_resource_types,
    load_default_schemas,
    load_default_service_provider_config,
)
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import run_simple

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


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


def serve(port: int, token: str, state_file: Path, sessions: Path, control: Path) -> None:
    """Serve requests on loopback until the process is ended."""
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

    def userinfo(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        bearer = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        account = _signed_in(sessions).get(bearer)
        is_accepted = bearer == control.read_text().strip() or any(
            resource.active  # type: ignore[attr-defined]  # a user
            for resource in backend.resources
            if account is not None and getattr(resource, "user_name", None) == account
        )
        start_response("200 OK" if is_accepted else "401 Unauthorized", [])
        return [b""]

    run_simple(
        "127.0.0.1", port, DispatcherMiddleware(application, {"/userinfo": userinfo}), threaded=True
    )


def _signed_in(sessions: Path) -> dict[str, str]:
    """Return the account of each session, by its token."""
    if not sessions.exists():
        return {}
    lines = [line.split() for line in sessions.read_text().splitlines()]
    return {token: account for account, token in lines}


if __name__ == "__main__":
    files = [Path(argument) for argument in sys.argv[2:]]
    serve(int(sys.argv[1]), files[0].read_text().strip(), *files[1:])
