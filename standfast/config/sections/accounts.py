"""List of the kinds of account directories, for `[accounts.NAME]`.

To add a kind, write a class with `kind: Literal["NAME"]`, where NAME is the connector's module, and
a `Field` with description and example for each key: in `account_providers.py` if it is called over
HTTP, else in `account_servers.py`. `value_types.py` has the types of values; a model validator
checks rules across keys. Then add the class to the union `AccountsConfig` and run `make docs` to
generate its documentation.
"""

from typing import Annotated, TypeAlias

from pydantic import Field

from standfast.config.sections.account_providers import (
    AmazonConnectConfig,
    AwsIamConfig,
    CognitoConfig,
    EntraConfig,
    GlewlwydConfig,
    GoogleWorkspaceConfig,
    OktaConfig,
    ScimDirectoryConfig,
)
from standfast.config.sections.account_servers import (
    ActiveDirectoryConfig,
    LinuxDirectoryConfig,
    MariadbDirectoryConfig,
    OpenldapDirectoryConfig,
    PostgresqlDirectoryConfig,
    RedisDirectoryConfig,
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
