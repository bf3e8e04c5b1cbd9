"""Keys that several tables share: passwords, TLS, S3 and rate limits.

Each key is defined once, so that its description is the same in all tables.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.value_types import Line, Place, SecretReference, Text, WebAddress

PostgresqlTls = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
MariadbTls = Literal["disable", "require", "verify"]
RedisTls = Literal["disable", "verify"]

POSTGRESQL_PASSWORD = Field(
    default=None,
    description="The password. Without it, the server must accept the role by the method `peer` "
    "or `trust`.",
    examples=["file:keys/crm-password"],
)
POSTGRESQL_TLS = Field(
    default=None,
    description="The same values as `sslmode` of libpq. Default: `verify-full`, but `prefer` for "
    "a server on this machine.",
    examples=["verify-full"],
)
MARIADB_PASSWORD = Field(
    default=None,
    description="The password. Without it, the server must accept the user by its socket.",
    examples=["file:keys/shop-password"],
)
MARIADB_TLS = Field(
    default=None,
    description="`verify` also checks the certificate. Default: `verify`. For a server on this "
    "machine, the default is TLS without verification if the server offers TLS.",
    examples=["verify"],
)
CA_FILE = Field(
    default=None,
    description="Certificate authorities to trust. Default: those of this machine.",
    examples=["/etc/ssl/company-ca.pem"],
)
VERIFY_TLS = Field(
    default=True,
    description="Verify the server's certificate. If the certificate is not from a "
    "public authority, set `ca_file` instead of disabling this.",
)
PER_SECOND = Field(
    default=None,
    description="Maximum number of accounts a second, for the runners of all live incidents "
    "together. Default: no limit except `workers`.",
    examples=[25],
)
BURST = Field(
    default=16,
    description="Accounts that may be processed at the same time before `per_second` limits "
    "the rate.",
)


class AwsAccessConfig(Section):
    """Region and credentials of calls to AWS."""

    region: Line = Field(default="us-east-1", description="The AWS region.", examples=["eu-west-2"])
    access_key_id: Text | None = Field(
        default=None,
        description="The id of an access key. Default: this machine's own identity, as the AWS "
        "SDK finds it.",
        examples=["AKIAIOSFODNN7EXAMPLE"],
    )
    secret_access_key: SecretReference | None = Field(
        default=None,
        description="The secret of the access key.",
        examples=["env:STANDFAST_AWS_SECRET"],
    )
    endpoint_url: WebAddress | None = Field(
        default=None,
        description="Another address than AWS's own, such as a VPC endpoint.",
        examples=["https://vpce-0123.iam.example.com"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.access_key_id is None) is not (self.secret_access_key is None):
            raise ValueError("set both `access_key_id` and `secret_access_key`, or neither")
        return self


class BucketConfig(Section):
    """An S3 bucket, and the access key for it."""

    bucket: Line = Field(description="The bucket.", examples=["example-recordings"])
    access_key_id: SecretReference = Field(
        description="The id of an access key that may list the bucket and read these objects.",
        examples=["file:keys/s3-access-key-id"],
    )
    secret_access_key: SecretReference = Field(
        description="The secret access key.", examples=["file:keys/s3-secret-access-key"]
    )
    session_token: SecretReference | None = Field(
        default=None,
        description="The session token of a temporary access key.",
        examples=["env:S3_SESSION_TOKEN"],
    )
    region: Line = Field(
        default="us-east-1", description="The region of the bucket.", examples=["eu-central-1"]
    )
    endpoint_url: WebAddress | None = Field(
        default=None,
        description="The address of an S3 service other than Amazon's.",
        examples=["https://s3.example.com"],
    )
    ca_file: Place | None = Field(
        default=None,
        description="Certificate authorities to trust, if the certificate is not from a public "
        "authority.",
        examples=["/etc/ssl/company-ca.pem"],
    )
