"""The settings of each kind of directory that `[accounts.NAME]` may be.

Owns the fields; what they do stands in `standfast/adapters/accounts/<kind>.py`.

To add a kind: a class with `kind: Literal["NAME"]`, NAME being the connector's module, and a
`setting` with description and example for each key (rules: `fields.py`; across keys: `check`);
then the class joins the union `AccountsConfig`, and `make docs` writes its page.
"""

from typing import Annotated, Literal, TypeAlias

from standfast.config.base_section import Section, setting
from standfast.config.sections.account_servers import (
    ActiveDirectoryConfig,
    LinuxDirectoryConfig,
    MariadbDirectoryConfig,
    OpenldapDirectoryConfig,
    PostgresqlDirectoryConfig,
    RedisDirectoryConfig,
)
from standfast.config.sections.identity_providers import (
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
from standfast.config.sections.server_settings import BURST, PER_SECOND, VERIFY_TLS
from standfast.config.value_types import (
    Place,
    Seconds,
    SecretReference,
    WebAddress,
    Workers,
    between,
    within,
)


class ScimDirectoryConfig(Section):
    """A directory of accounts that speaks SCIM 2.0 (RFC 7643, RFC 7644)."""

    kind: Literal["scim"] = setting(description="SCIM 2.0 over HTTP.", examples=["scim"])
    url: WebAddress = setting(
        description="The SCIM base address: what stands before `/Users`.",
        examples=["https://directory.example.com/scim/v2"],
    )
    token: SecretReference = setting(
        description="The bearer token that may read and change accounts.",
        examples=["env:SCIM_TOKEN"],
    )
    timeout_seconds: Annotated[float, within(120)] = setting(
        default=10.0,
        description="Hard bound on one account's call, all its requests together. After it the "
        "call is cut, and its result counts as unknown.",
        examples=[10],
    )
    workers: Workers = setting(default=16, description="Calls at once.", examples=[16])
    per_second: Seconds | None = PER_SECOND
    burst: Annotated[int, between(1)] = BURST
    bulk: Annotated[int, between(1, 1000)] = setting(
        default=1,
        description="Accounts that one request may carry, where the directory offers Bulk (RFC "
        "7644 3.7); they then share `timeout_seconds`. 1 asks for each by itself.",
        examples=[100],
    )
    verify_tls: bool = VERIFY_TLS
    ca_file: Place | None = setting(
        default=None,
        description="A PEM file with the authority that signed the directory's certificate; left "
        "out, the public authorities.",
        examples=["keys/directory-ca.pem"],
    )
    revocation: ScimRevocationConfig | None = setting(
        default=None, description="How to end OAuth tokens; left out, nothing is revoked here."
    )
    probe: ScimProbeConfig | None = setting(
        default=None,
        description="Where a locked holder's token must be refused; left out, proof stops at "
        "reading the directory back.",
    )


AccountsConfig: TypeAlias = (
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
    | GoogleWorkspaceConfig
)
