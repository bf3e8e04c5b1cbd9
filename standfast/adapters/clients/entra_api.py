"""Microsoft Graph: token of the application, mark of the next page."""

from collections.abc import Mapping
from urllib.parse import parse_qs, quote, urlsplit

from standfast.adapters.clients.credentials import RenewedCredential
from standfast.adapters.clients.oauth_client import TokenEndpoint
from standfast.config.sections.accounts import EntraConfig
from standfast.http_client import HttpClient
from standfast.records import Now
from standfast.secrets import Reveal

_MARKS = ("$skiptoken", "$skip")


def entra_credential(
    settings: EntraConfig, reveal: Reveal, http: HttpClient, clock: Now
) -> RenewedCredential:
    """Return the renewed token of the registered application."""
    tenant = quote(settings.tenant_id, safe="")
    endpoint = TokenEndpoint(http, f"{settings.login_url}/{tenant}/oauth2/v2.0/token", clock)
    secret = reveal(settings.client_secret)
    return RenewedCredential(
        endpoint.by_secret(settings.client_id, secret, f"{settings.graph_url}/.default")
    )


def next_page_mark(page: Mapping[str, object]) -> dict[str, str]:
    """Return the query parameters of the next page; empty after the last.

    Graph sends the address of the next page. Only parameters of its query are used, never its host.
    """
    parts = parse_qs(urlsplit(str(page.get("@odata.nextLink", ""))).query)
    return {key: values[0] for key, values in parts.items() if key in _MARKS}
