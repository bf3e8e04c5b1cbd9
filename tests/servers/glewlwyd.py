"""A real OpenID Connect provider with sessions (Glewlwyd, of Debian).

- `glewlwyd_server`: session; its addresses, an administrator for the connector, and one
  application. Tests add their own people.
- Its database is a file with the package's own schema.
- The administrator has the default password of the package; the server listens on loopback only.
"""

import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.servers import answers, find_program, free_port, need, send_request, wait_until
from tests.servers.canaille import Tokens

SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
ADMIN, ADMIN_PASSWORD = "admin", "password"
CLIENT_ID, CLIENT_SECRET = "agent-desktop", "of-the-agent-desktop-alone"
_OIDC = {
    "iss": "http://localhost",
    "jwt-type": "sha",
    "jwt-key-size": "256",
    "key": "a key for the tests, and for nothing else",
    "access-token-duration": 3600,
    "refresh-token-duration": 1209600,
    "code-duration": 600,
    "refresh-token-rolling": True,
    "allow-non-oidc": True,
    "auth-type-code-enabled": True,
    "auth-type-token-enabled": False,
    "auth-type-id-token-enabled": False,
    "auth-type-none-enabled": False,
    "auth-type-password-enabled": True,
    "auth-type-client-enabled": True,
    "auth-type-device-enabled": False,
    "auth-type-refresh-enabled": True,
    "introspection-revocation-allowed": True,
    "introspection-revocation-allow-target-client": True,
    "subject-type": "public",
}


@dataclass(frozen=True, kw_only=True)
class GlewlwydServer:
    """A running provider; `url` ends in its API prefix."""

    url: str

    @property
    def userinfo_url(self) -> str:
        return f"{self.url}/oidc/userinfo"

    @property
    def revocation_url(self) -> str:
        return f"{self.url}/oidc/revoke"

    def add(self, name: str, password: str, *, is_enabled: bool) -> None:
        """Add a person that may use the application and see its profile."""
        self._administer(
            "POST",
            "/user/",
            {
                "username": name,
                "password": password,
                "enabled": is_enabled,
                "scope": ["openid", "g_profile"],
                "name": "a name that must survive",
            },
        )

    def person(self, name: str) -> dict[str, object]:
        """Return the provider's own record."""
        answer = self._administer("GET", f"/user/{quote(name, safe='')}").json()
        assert isinstance(answer, dict)
        return answer

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        """Change the flag as another administrator would."""
        person = {**self.person(name), "enabled": is_enabled}
        self._administer("PUT", f"/user/{quote(name, safe='')}", person)

    def browse(self, name: str, password: str) -> dict[str, str] | None:
        """Sign in by browser; return the session's cookie, None when refused."""
        answer = send_request(
            "POST",
            f"{self.url}/auth/",
            json={"username": name, "password": password},
        )
        if answer.status_code == 401:
            return None
        return {"Cookie": answer.raise_for_status().headers["set-cookie"].split(";")[0]}

    def is_signed_in(self, session: dict[str, str]) -> bool:
        """Return whether a browser session is accepted."""
        answer = send_request("GET", f"{self.url}/profile_list", headers=session)
        assert answer.status_code in (200, 401), answer.status_code
        return answer.status_code == 200

    def sign_in(self, name: str, password: str) -> Tokens | None:
        """Sign in to the application; return None when refused."""
        return self._token(grant_type="password", username=name, password=password, scope="openid")

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
            f"{self.url}/oidc/token",
            data=form,
            auth=(CLIENT_ID, CLIENT_SECRET),
        )
        if answer.status_code in (400, 403):
            return None
        body = answer.raise_for_status().json()
        return Tokens(access=body["access_token"], refresh=body.get("refresh_token", ""))

    def _administer(self, method: str, path: str, body: object = None) -> httpx.Response:
        session = self.browse(ADMIN, ADMIN_PASSWORD)
        answer = send_request(method, self.url + path, json=body, headers=session)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return answer


@contextmanager
def running_glewlwyd() -> Iterator[GlewlwydServer]:
    """Run the provider with one application."""
    program = find_program("glewlwyd")
    assert program is not None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="standfast-glewlwyd-") as name:
        folder = Path(name)
        with closing(sqlite3.connect(folder / "glewlwyd.db")) as database:
            database.executescript(SCHEMA.read_text())
        (folder / "glewlwyd.conf").write_text(_configuration(port, folder))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, f"--config-file={folder / 'glewlwyd.conf'}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda: process.poll() is not None or answers(port), "Glewlwyd answers")
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            server = GlewlwydServer(url=f"http://127.0.0.1:{port}/api")
            _set_up(server)
            yield server
        finally:
            process.kill()
            process.wait(timeout=60)


def _configuration(port: int, folder: Path) -> str:
    settings = {
        "bind_address": '"127.0.0.1"',
        "port": str(port),
        "external_url": f'"http://localhost:{port}"',
        "login_url": '"login.html"',
        "api_prefix": '"api"',
        "log_mode": '"console"',
        "log_level": '"WARNING"',
        "cookie_domain": '"localhost"',
        "cookie_secure": "0",
        "session_key": '"GLEWLWYD2_SESSION_ID"',
        "admin_scope": '"g_admin"',
        "profile_scope": '"g_profile"',
        "user_module_path": '"/usr/lib/glewlwyd/user"',
        "client_module_path": '"/usr/lib/glewlwyd/client"',
        "user_auth_scheme_module_path": '"/usr/lib/glewlwyd/scheme"',
        "plugin_module_path": '"/usr/lib/glewlwyd/plugin"',
        "hash_algorithm": '"SHA512"',
    }
    lines = [f"{key}={value}" for key, value in settings.items()]
    lines.append(f'database = {{ type = "sqlite3"  path = "{folder / "glewlwyd.db"}" }};')
    return "\n".join(lines) + "\n"


def _set_up(server: GlewlwydServer) -> None:
    server._administer(
        "POST",
        "/mod/plugin/",
        {
            "module": "oidc",
            "name": "oidc",
            "display_name": "OpenID Connect",
            "enabled": True,
            "parameters": _OIDC,
        },
    )
    server._administer(
        "POST",
        "/client/",
        {
            "client_id": CLIENT_ID,
            "name": "Agent desktop",
            "confidential": True,
            "enabled": True,
            "password": CLIENT_SECRET,
            "client_secret": CLIENT_SECRET,
            "redirect_uri": ["https://agent-desktop.test/back"],
            "authorization_type": ["password", "refresh_token", "client_credentials"],
            "scope": ["openid"],
            "token_endpoint_auth_method": ["client_secret_basic"],
        },
    )


@pytest.fixture(scope="session")
def glewlwyd_server() -> Iterator[GlewlwydServer]:
    """The provider of this test process."""
    need("glewlwyd", "apt-get install glewlwyd")
    with running_glewlwyd() as server:
        yield server
