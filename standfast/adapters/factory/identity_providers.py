"""From the settings of an identity provider or a cloud to its connector.

Each kind's module is imported when one is built: a command that locks nothing loads none of them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.base.oauth_token_revocation import TokenProbe, TokenRevocation
from standfast.adapters.factory.build_context import BuildContext, Reveal
from standfast.config.sections.identity_providers import (
    AmazonConnectConfig,
    AwsConfig,
    AwsIamConfig,
    CognitoConfig,
    EntraConfig,
    GlewlwydConfig,
    GoogleWorkspaceConfig,
    OktaConfig,
    ScimProbeConfig,
    ScimRevocationConfig,
)
from standfast.records import Limits


def limits_of(settings: Any, *, batch: int = 1) -> Limits:
    """Say how a directory is to be called."""
    return Limits(
        batch=batch,
        workers=settings.workers,
        per_second=settings.per_second,
        burst=settings.burst,
        timeout_seconds=settings.timeout_seconds,
    )


def revocation_of(settings: ScimRevocationConfig | None, reveal: Reveal) -> TokenRevocation | None:
    """Say how tokens are ended, where that is configured."""
    if settings is None:
        return None
    return TokenRevocation(
        url=settings.url,
        client_id=settings.client_id,
        client_secret=reveal(settings.client_secret),
    )


def probe_of(settings: ScimProbeConfig | None, reveal: Reveal) -> TokenProbe | None:
    """Say where a token must be refused, where that is configured."""
    if settings is None:
        return None
    return TokenProbe(url=settings.url, control_token=reveal(settings.control_token))


def _glewlwyd(name: str, settings: GlewlwydConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.glewlwyd import Glewlwyd, GlewlwydOptions

    options = GlewlwydOptions(
        limits=limits_of(settings),
        verify_tls=settings.verify_tls,
        ca_file=settings.ca_file,
        plugin=settings.plugin,
        session_key=settings.session_key,
        revocation=revocation_of(settings.revocation, means.reveal),
        probe=probe_of(settings.probe, means.reveal),
    )
    return Glewlwyd(
        name,
        settings.url,
        settings.user,
        means.reveal(settings.password),
        options,
        clock=means.clock,
    )


def _aws(settings: AwsConfig, reveal: Reveal) -> dict[str, Any]:
    secret = settings.secret_access_key
    return {
        "region": settings.region,
        "access_key_id": settings.access_key_id,
        "secret_access_key": None if secret is None else reveal(secret),
        "endpoint_url": settings.endpoint_url,
        "limits": limits_of(settings),
    }


def _aws_iam(name: str, settings: AwsIamConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.aws_iam import AwsIam
    from standfast.adapters.accounts.base.aws_client import AwsOptions

    return AwsIam(name, AwsOptions(**_aws(settings, means.reveal)), clock=means.clock)


def _cognito(name: str, settings: CognitoConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.cognito import Cognito, CognitoOptions

    options = CognitoOptions(user_pool_id=settings.user_pool_id, **_aws(settings, means.reveal))
    return Cognito(name, options)


def _amazon_connect(name: str, settings: AmazonConnectConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.amazon_connect import AmazonConnect, AmazonConnectOptions

    options = AmazonConnectOptions(
        instance_id=settings.instance_id,
        no_access_security_profile=settings.no_access_security_profile,
        no_contacts_routing_profile=settings.no_contacts_routing_profile,
        offline_status=settings.offline_status,
        **_aws(settings, means.reveal),
    )
    return AmazonConnect(name, options)


def _okta(name: str, settings: OktaConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.okta import Okta, OktaOptions

    options = OktaOptions(
        limits=limits_of(settings),
        token=None if settings.token is None else means.reveal(settings.token),
        client_id=settings.client_id,
        private_key=None if settings.private_key is None else means.reveal(settings.private_key),
        key_id=settings.key_id,
    )
    return Okta(name, settings.url, options, clock=means.clock)


def _entra(name: str, settings: EntraConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.entra import Entra, EntraOptions

    options = EntraOptions(
        limits=limits_of(settings),
        tenant_id=settings.tenant_id,
        client_id=settings.client_id,
        client_secret=means.reveal(settings.client_secret),
        graph_url=settings.graph_url,
        login_url=settings.login_url,
    )
    return Entra(name, options, clock=means.clock)


def _google_workspace(name: str, settings: GoogleWorkspaceConfig, means: BuildContext) -> Connector:
    from standfast.adapters.accounts.google_workspace import GoogleWorkspace, GoogleWorkspaceOptions

    options = GoogleWorkspaceOptions(
        limits=limits_of(settings),
        service_account=settings.service_account,
        private_key=means.reveal(settings.private_key),
        administrator=settings.administrator,
    )
    return GoogleWorkspace(name, options, clock=means.clock)


# By kind, each given the settings of that kind.
PROVIDERS: Mapping[str, Callable[[str, Any, BuildContext], Connector]] = {
    "glewlwyd": _glewlwyd,
    "aws_iam": _aws_iam,
    "cognito": _cognito,
    "amazon_connect": _amazon_connect,
    "okta": _okta,
    "entra": _entra,
    "google_workspace": _google_workspace,
}
