"""Settings of `[accounts.NAME]`: providers over HTTP, and all kinds.

A directory is a system that stores accounts. Its kind is the name of its module in
`standfast/adapters/accounts/`. To add a kind, write a class with `kind: Literal["NAME"]` and, for
each key, a `Field` with description and example: in this module if the provider is called over
HTTP, otherwise in `account_servers.py`. `value_types.py` has the types of values; a model validator
checks rules across keys. Add the class to the union `AccountsConfig`.
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.account_servers import (
    ActiveDirectoryConfig,
    CalledConfig,
    LinuxDirectoryConfig,
    MariadbDirectoryConfig,
    OpenldapDirectoryConfig,
    PostgresqlDirectoryConfig,
    RedisDirectoryConfig,
)
from standfast.config.sections.server_settings import (
    BURST,
    PER_SECOND,
    VERIFY_TLS,
    AwsAccessConfig,
)
from standfast.config.value_types import (
    Line,
    Place,
    Seconds,
    SecretReference,
    Text,
    WebAddress,
    Workers,
)


class ScimRevocationConfig(Section):
    """Revocation of known access tokens (RFC 7009)."""

    url: WebAddress = Field(
        description="The OAuth token revocation end point (RFC 7009).",
        examples=["https://login.example.com/oauth/revoke"],
    )
    client_id: Text = Field(
        description="The OAuth client that received the tokens. No other client may "
        "revoke them (RFC 7009 2.1).",
        examples=["agent-desktop"],
    )
    client_secret: SecretReference = Field(
        description="The secret of the OAuth client.", examples=["env:AGENT_DESKTOP_SECRET"]
    )


class ScimProbeConfig(Section):
    """A resource that must refuse the token of a locked account."""

    url: WebAddress = Field(
        description="A resource that accepts a valid token and answers 401 otherwise, such as "
        "the OpenID Connect userinfo endpoint. (403 may mean a valid token with too few scopes.)",
        examples=["https://login.example.com/oauth/userinfo"],
    )
    control_token: SecretReference = Field(
        description="A token of a separate test account, which the resource must accept. "
        "Without it, a broken probe would look like a refused sign-in.",
        examples=["env:CANARY_TOKEN"],
    )
    tokens: SecretReference | None = Field(
        default=None,
        description="Known tokens of the holders, from the application's session store or from "
        "the evidence: a file of at most 64 KiB, with an account and a token in each line. For "
        "an account without a known token, the proof does not use the probe. The file is read "
        "when it is needed.",
        examples=["file:keys/known-tokens"],
    )


class ScimDirectoryConfig(Section):
    """A directory of accounts with SCIM 2.0 (RFC 7643, RFC 7644)."""

    kind: Literal["scim"] = Field(description="SCIM 2.0 over HTTP.")
    url: WebAddress = Field(
        description="The SCIM base address, without `/Users`.",
        examples=["https://directory.example.com/scim/v2"],
    )
    token: SecretReference = Field(
        description="The bearer token that may read and change accounts.",
        examples=["env:SCIM_TOKEN"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=120)] = Field(
        default=10.0,
        description="Time limit of all requests of one call together. After it the call is cut "
        "off, and its outcome is unknown.",
    )
    workers: Workers = Field(default=16, description="Concurrent calls.")
    per_second: Seconds | None = PER_SECOND
    burst: Annotated[int, Field(ge=1)] = BURST
    bulk: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1,
        description="Accounts in one request, if the directory offers Bulk (RFC 7644 3.7); "
        "they share `timeout_seconds`. 1 changes each account separately.",
        examples=[100],
    )
    verify_tls: bool = VERIFY_TLS
    ca_file: Place | None = Field(
        default=None,
        description="A PEM file with the authority that signed the directory's certificate. "
        "Default: the public authorities.",
        examples=["keys/directory-ca.pem"],
    )
    revocation: ScimRevocationConfig | None = Field(
        default=None, description="How to revoke OAuth tokens. Without it no token is revoked."
    )
    probe: ScimProbeConfig | None = Field(
        default=None,
        description="A resource that must refuse the token of a locked account. Without it the "
        "proof only reads the directory back.",
    )


class ProviderCalledConfig(CalledConfig):
    """Settings of calls to a provider that accepts one account in each call."""

    workers: Workers = Field(default=16, description="Concurrent calls.")


class GlewlwydConfig(ProviderCalledConfig):
    """Glewlwyd, an OpenID Connect provider."""

    kind: Literal["glewlwyd"] = Field(
        description="Glewlwyd, an OpenID Connect provider with sessions."
    )
    url: WebAddress = Field(
        description="The address, with the API prefix.", examples=["https://login.example.com/api"]
    )
    user: Line = Field(
        default="standfast",
        description="An administrator account for this purpose that signs in with a password only.",
    )
    password: SecretReference = Field(
        description="The password.", examples=["file:keys/login-password"]
    )
    plugin: Line = Field(
        default="oidc", description="The name of the OpenID Connect plugin instance."
    )
    session_key: Line = Field(
        default="GLEWLWYD2_SESSION_ID",
        description="The name of the session cookie, as in Glewlwyd's configuration.",
    )
    verify_tls: bool = VERIFY_TLS
    ca_file: Place | None = Field(
        default=None,
        description="A PEM file with the authority that signed the server's certificate. "
        "Default: the public authorities.",
        examples=["keys/login-ca.pem"],
    )
    revocation: ScimRevocationConfig | None = Field(
        default=None,
        description="How to revoke access tokens. Without it they are valid until they expire.",
    )
    probe: ScimProbeConfig | None = Field(
        default=None,
        description="A resource that must refuse the token of a locked account. Without it the "
        "proof only counts sessions.",
    )


class AwsConfig(CalledConfig, AwsAccessConfig):
    """Settings of calls to AWS."""

    workers: Workers = Field(default=8, description="Concurrent calls.")


class AwsIamConfig(AwsConfig):
    """The users and roles of an AWS account."""

    kind: Literal["aws_iam"] = Field(description="AWS IAM: users, and roles written `role/NAME`.")


class CognitoConfig(AwsConfig):
    """The users of an Amazon Cognito user pool."""

    kind: Literal["cognito"] = Field(description="Amazon Cognito: the users of one pool.")
    user_pool_id: Line = Field(description="The id of the pool.", examples=["eu-west-2_EXAMPLE"])


class AmazonConnectConfig(AwsConfig):
    """The agents of an Amazon Connect instance."""

    kind: Literal["amazon_connect"] = Field(
        description="Amazon Connect: the agents of one instance."
    )
    instance_id: Line = Field(
        description="The id of the instance: the last part of its ARN.",
        examples=["12345678-1234-1234-1234-123456789012"],
    )
    no_access_security_profile: Line = Field(
        description="The id of a security profile without any permission. A lock assigns it.",
        examples=["22345678-1234-1234-1234-123456789012"],
    )
    no_contacts_routing_profile: Line | None = Field(
        default=None,
        description="The id of a routing profile without queues. A lock assigns it; without it "
        "the routing profile is not changed.",
        examples=["32345678-1234-1234-1234-123456789012"],
    )
    offline_status: Line | None = Field(
        default=None,
        description="The id of an agent status that receives no contacts. A lock assigns it; "
        "without it the status is not changed.",
        examples=["42345678-1234-1234-1234-123456789012"],
    )
    per_second: Seconds | None = Field(
        default=1.0,
        description="Agents a second. Connect accepts two requests of each operation a second, "
        "and a lock reads each agent twice.",
    )
    burst: Annotated[int, Field(ge=1)] = Field(
        default=1,
        description="Agents that may be processed at the same time before `per_second` limits "
        "the rate.",
    )


class OktaConfig(ProviderCalledConfig):
    """The users of an Okta organisation."""

    kind: Literal["okta"] = Field(description="Okta: the users of one organisation.")
    url: WebAddress = Field(
        description="The address of the organisation.", examples=["https://example.okta.com"]
    )
    token: SecretReference | None = Field(
        default=None,
        description="An API token (SSWS). Alternative: a service application with `client_id`.",
        examples=["env:OKTA_TOKEN"],
    )
    client_id: Text | None = Field(
        default=None,
        description="The client id of a service application.",
        examples=["0oa1example"],
    )
    private_key: SecretReference | None = Field(
        default=None,
        description="The RSA private key of the service application, in PEM.",
        examples=["file:keys/okta.pem"],
    )
    key_id: Text | None = Field(
        default=None,
        description="The id of `private_key` (`kid`), as Okta shows it.",
        examples=["kid-1"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.client_id is None) is not (self.private_key is None):
            raise ValueError("set both `client_id` and `private_key`, or neither")
        if (self.token is None) is (self.client_id is None):
            raise ValueError("set either `token`, or `client_id` and `private_key`")
        return self


class EntraConfig(ProviderCalledConfig):
    """The users of a Microsoft Entra ID tenant."""

    kind: Literal["entra"] = Field(description="Microsoft Entra ID: the users of one tenant.")
    tenant_id: Line = Field(
        description="The id or domain of the tenant.", examples=["example.onmicrosoft.com"]
    )
    client_id: Line = Field(
        description="The id of the application that is registered for this purpose.",
        examples=["52345678-1234-1234-1234-123456789012"],
    )
    client_secret: SecretReference = Field(
        description="The client secret of that application.", examples=["env:ENTRA_SECRET"]
    )
    graph_url: WebAddress = Field(
        default="https://graph.microsoft.com",
        description="The address of Microsoft Graph; national clouds have other addresses.",
        examples=["https://graph.microsoft.us"],
    )
    login_url: WebAddress = Field(
        default="https://login.microsoftonline.com",
        description="The address that issues tokens; national clouds have other addresses.",
        examples=["https://login.microsoftonline.us"],
    )


class GoogleWorkspaceConfig(ProviderCalledConfig):
    """The users of a Google Workspace customer."""

    kind: Literal["google_workspace"] = Field(
        description="Google Workspace: the users of one customer."
    )
    service_account: Line = Field(
        description="The address of the service account: `client_email` in its key file.",
        examples=["standfast@project.iam.gserviceaccount.com"],
    )
    private_key: SecretReference = Field(
        description="The private key in PEM: `private_key` in the key file.",
        examples=["file:keys/google.pem"],
    )
    administrator: Line = Field(
        description="The administrator that the service account acts for.",
        examples=["responder@example.com"],
    )


AccountsConfig: TypeAlias = Annotated[
    ScimDirectoryConfig
    | PostgresqlDirectoryConfig
    | OpenldapDirectoryConfig
    | ActiveDirectoryConfig
    | MariadbDirectoryConfig
    | RedisDirectoryConfig
    | LinuxDirectoryConfig
    | GlewlwydConfig
    | AwsIamConfig
    | CognitoConfig
    | AmazonConnectConfig
    | OktaConfig
    | EntraConfig
    | GoogleWorkspaceConfig,
    Field(discriminator="kind"),
]
