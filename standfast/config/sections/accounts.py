"""Settings of each kind of account directory, `[accounts.NAME]`.

The behaviour is in `standfast/adapters/accounts/<kind>.py`.

To add a kind, write a class with `kind: Literal["NAME"]`, where NAME is the connector's module, and
a `Field` with description and example for each key. `value_types.py` has the types of values; a
model validator checks rules across keys. Then add the class to the union `AccountsConfig` and run
`make docs` to generate its documentation.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.sections.account_providers import (
    AmazonConnectConfig,
    AwsIamConfig,
    CognitoConfig,
    EntraConfig,
    GlewlwydConfig,
    GoogleWorkspaceConfig,
    OktaConfig,
    ScimProbeConfig,
    ScimRevocationConfig,
)
from standfast.config.sections.account_servers import (
    ActiveDirectoryConfig,
    LinuxDirectoryConfig,
    MariadbDirectoryConfig,
    OpenldapDirectoryConfig,
    PostgresqlDirectoryConfig,
    RedisDirectoryConfig,
)
from standfast.config.sections.server_settings import BURST, PER_SECOND, VERIFY_TLS
from standfast.config.value_types import (
    Place,
    Seconds,
    SecretReference,
    WebAddress,
    Workers,
)


class ScimDirectoryConfig(Section):
    """A directory of accounts with SCIM 2.0 (RFC 7643, RFC 7644)."""

    kind: Literal["scim"] = Field(description="SCIM 2.0 over HTTP.", examples=["scim"])
    url: WebAddress = Field(
        description="The SCIM base address: what stands before `/Users`.",
        examples=["https://directory.example.com/scim/v2"],
    )
    token: SecretReference = Field(
        description="The bearer token that may read and change accounts.",
        examples=["env:SCIM_TOKEN"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=120)] = Field(
        default=10.0,
        description="Hard bound on one account's call, all its requests together. After it the "
        "call is cut, and its result counts as unknown.",
        examples=[10],
    )
    workers: Workers = Field(default=16, description="Calls at once.", examples=[16])
    per_second: Seconds | None = PER_SECOND
    burst: Annotated[int, Field(ge=1)] = BURST
    bulk: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1,
        description="Accounts that one request may carry, where the directory offers Bulk (RFC "
        "7644 3.7); they then share `timeout_seconds`. 1 asks for each by itself.",
        examples=[100],
    )
    verify_tls: bool = VERIFY_TLS
    ca_file: Place | None = Field(
        default=None,
        description="A PEM file with the authority that signed the directory's certificate; left "
        "out, the public authorities.",
        examples=["keys/directory-ca.pem"],
    )
    revocation: ScimRevocationConfig | None = Field(
        default=None, description="How to end OAuth tokens; left out, nothing is revoked here."
    )
    probe: ScimProbeConfig | None = Field(
        default=None,
        description="Where a locked holder's token must be refused; left out, proof stops at "
        "reading the directory back.",
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
