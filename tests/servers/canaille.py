"""A real OpenID Connect provider with SCIM (Canaille, by pytest-iam).

- `canaille_server`: session; its applications and addresses. Tests add their own people.
- People sign in to the agent desktop by password and get an access and a refresh token. Only that
  application may revoke these tokens (RFC 7009 2.1).
- SCIM accepts an access token of its own application (client credentials).
- Its access tokens are signed claims with times in whole seconds and nothing random: two sign-ins
  of a person within a second give the same token, and the second revives a revoked first one. So
  `sign_in` waits for the next second.
- Its SCIM ignores filters, answers 500 to `count`, and handles one request at a time here.
"""

import re
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers import START_SECONDS, need, send_request, wait_until

if TYPE_CHECKING:
    from pytest_iam import Server


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens of a sign-in."""

    access: str
    refresh: str


@dataclass(frozen=True, kw_only=True)
class Canaille:
    """A running provider; `scim_token` may read and change every account."""

    iam: "Server"
    client_id: str
    client_secret: str = field(repr=False)
    scim_token: str = field(repr=False)
    other_client: tuple[str, str] = field(repr=False)  # the id and secret of another application
    _last_sign_in: dict[str, int] = field(default_factory=dict, repr=False)

    @property
    def scim_url(self) -> str:
        return f"{self.iam.url}scim/v2"

    @property
    def revocation_url(self) -> str:
        return f"{self.iam.url}oauth/revoke"

    @property
    def userinfo_url(self) -> str:
        return f"{self.iam.url}oauth/userinfo"

    def add(self, name: str, password: str) -> None:
        """Add a person that can sign in."""
        self.iam.random_user(user_name=name, password=password)

    def is_locked(self, name: str) -> bool:
        """Return the lock of a person, read without SCIM."""
        return bool(self.person(name).locked)

    def set_locked(self, name: str, is_locked: bool) -> None:
        """Lock or unlock as the provider's own administrator would."""
        with self.iam.app.app_context():
            person = self.person(name)
            person.lock_date = datetime.now(UTC) if is_locked else None
            self.iam.backend.save(person)

    def person(self, name: str) -> Any:
        """Return the provider's own record."""
        with self.iam.app.app_context():
            return self.iam.backend.get(self.iam.models.User, user_name=name)

    def sign_in(self, name: str, password: str) -> Tokens | None:
        """Sign a person in to the agent desktop; return None when refused."""
        last = self._last_sign_in.get(name, 0)
        wait_until(lambda: int(time.time()) > last, "the next second begins")
        tokens = self._token(
            grant_type="password", username=name, password=password, scope="openid"
        )
        if tokens is not None:
            self._last_sign_in[name] = int(time.time())
        return tokens

    def browse(self, name: str, password: str) -> dict[str, str]:
        """Sign a person in by browser, form by form; return the session's cookie."""
        with httpx.Client(
            base_url=self.iam.url, follow_redirects=True, trust_env=False, timeout=START_SECONDS
        ) as browser:
            page = browser.get("login")
            for answer in ({"login": name}, {"password": password}):
                token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
                assert token is not None
                page = browser.post(page.url, data={**answer, "csrf_token": token.group(1)})
            cookie = browser.cookies.get("canaille")
        assert cookie is not None
        return {"Cookie": f"canaille={cookie}"}

    def is_signed_in(self, session: dict[str, str]) -> bool:
        """Return whether a browser's session is valid; leave it unchanged."""
        answer = send_request("GET", f"{self.iam.url}consent/", headers=session)
        assert answer.status_code in (200, 302, 403), answer.status_code
        return answer.status_code == 200

    def refresh(self, tokens: Tokens) -> Tokens | None:
        """Use the refresh token; return None when it is refused."""
        return self._token(grant_type="refresh_token", refresh_token=tokens.refresh)

    def admits(self, tokens: Tokens) -> bool:
        """Return whether the access token is accepted."""
        headers = {"Authorization": f"Bearer {tokens.access}"}
        answer = send_request("GET", self.userinfo_url, headers=headers)
        assert answer.status_code in (200, 401), answer.status_code
        return answer.status_code == 200

    def _token(self, **form: str) -> Tokens | None:
        answer = send_request(
            "POST",
            f"{self.iam.url}oauth/token",
            data=form,
            auth=(self.client_id, self.client_secret),
        )
        if answer.status_code == 400:
            return None
        body = answer.raise_for_status().json()
        return Tokens(access=body["access_token"], refresh=body.get("refresh_token", ""))


def _application(iam: "Server", name: str, grants: list[str]) -> tuple[str, str]:
    client_id, secret = uuid.uuid4().hex, uuid.uuid4().hex
    client = iam.models.Client(
        client_id=client_id,
        client_secret=secret,
        client_name=name,
        client_uri=f"https://{name}.test",
        redirect_uris=[f"https://{name}.test/back"],
        grant_types=grants,
        response_types=["code"],
        scope=["openid", "profile"],
        token_endpoint_auth_method="client_secret_basic",
    )
    iam.backend.save(client)
    client.audience = [client]
    iam.backend.save(client)
    return client_id, secret


@pytest.fixture(scope="session")
def iam_configuration(iam_configuration: dict[str, Any]) -> dict[str, Any]:
    """Extend pytest-iam's configuration by a section for SCIM."""
    return {**iam_configuration, "CANAILLE_SCIM": {"ENABLE_SERVER": True}}


@pytest.fixture(scope="session")
def canaille_server(request: pytest.FixtureRequest) -> Canaille:
    """The provider with two applications: agent desktop and provisioning."""
    need("pytest_iam", "it brings the identity provider; install the dev requirements")
    iam: Server = request.getfixturevalue("iam_server")
    desktop = _application(iam, "agent-desktop", ["password", "refresh_token"])
    provisioning = _application(iam, "provisioning", ["client_credentials"])
    answer = send_request(
        "POST",
        f"{iam.url}oauth/token",
        data={"grant_type": "client_credentials", "scope": "openid"},
        auth=provisioning,
    )
    return Canaille(
        iam=iam,
        client_id=desktop[0],
        client_secret=desktop[1],
        scim_token=answer.raise_for_status().json()["access_token"],
        other_client=provisioning,
    )
