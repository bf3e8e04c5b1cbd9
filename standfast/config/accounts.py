"""The settings of each kind of directory that `[accounts.NAME]` may be.

Owns the fields; what they do stands in `standfast/accounts/<kind>.py`.

Rules
- `kind` is the name of the connector's module; adding one is a class here, added to the union.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from standfast.config.fields import (
    Flag,
    Place,
    Seconds,
    SecretReference,
    Section,
    WebAddress,
    Workers,
)


class ScimRevocationConfig(Section):
    """How tokens are ended (RFC 7009), since SCIM itself has no sessions."""

    url: WebAddress = Field(
        description="The OAuth token revocation end point (RFC 7009).",
        examples=["https://login.example.com/oauth/revoke"],
    )
    client_id: Annotated[str, Field(min_length=1)] = Field(
        description="The OAuth client that the tokens were issued to: servers let no other client "
        "revoke them (RFC 7009 2.1).",
        examples=["agent-desktop"],
    )
    client_secret: SecretReference = Field(
        description="That client's secret.", examples=["env:AGENT_DESKTOP_SECRET"]
    )


class ScimProbeConfig(Section):
    """A resource that must turn a locked holder's own token away."""

    url: WebAddress = Field(
        description="A resource that lets a valid token in and answers 401 otherwise, such as the "
        "OpenID Connect userinfo end point. (403 may mean a good token of too narrow a scope.)",
        examples=["https://login.example.com/oauth/userinfo"],
    )
    control_token: SecretReference = Field(
        description="A token of an account made for this purpose, that must be let in: without "
        "it a broken probe would look like a closed door.",
        examples=["env:CANARY_TOKEN"],
    )


class ScimDirectoryConfig(Section):
    """A directory of accounts that speaks SCIM 2.0 (RFC 7643, RFC 7644)."""

    kind: Literal["scim"] = Field(description="SCIM 2.0 over HTTP.", examples=["scim"])
    url: WebAddress = Field(
        description="The SCIM base address: what stands before `/Users`.",
        examples=["https://directory.example.com/scim/v2"],
    )
    token: SecretReference = Field(
        description="The bearer token that may read and change accounts.",
        examples=["env:SCIM_TOKEN"],
    )
    timeout_seconds: Annotated[Seconds, Field(le=120)] = Field(
        default=10.0,
        description="Hard bound on one account's call, all its requests together. After it the "
        "call is cut, and its result counts as unknown.",
        examples=[10],
    )
    workers: Workers = Field(default=16, description="Calls at once.", examples=[16])
    per_second: Seconds | None = Field(
        default=None,
        description="Accounts a second; left out, no limit but the workers.",
        examples=[25],
    )
    burst: Annotated[int, Field(strict=True, ge=1)] = Field(
        default=16,
        description="Accounts that may go at once before `per_second` holds.",
        examples=[16],
    )
    verify_tls: Flag = Field(
        default=True,
        description="Verify the server's certificate. Prefer `ca_file` to switching this off.",
        examples=[True],
    )
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


AccountsConfig: TypeAlias = ScimDirectoryConfig
