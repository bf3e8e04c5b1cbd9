"""Keys that several tables share: passwords, TLS, S3 and rate limits.

Each key has one description here for all tables that use it, so that it never has two.
"""

from typing import Literal

from pydantic import Field

PostgresqlTls = Literal["disable", "prefer", "require", "verify-ca", "verify-full"]
MariadbTls = Literal["disable", "require", "verify"]
RedisTls = Literal["disable", "verify"]

POSTGRESQL_PASSWORD = Field(
    default=None,
    description="The password; without it the server must accept the role by peer or trust.",
    examples=["file:keys/crm-password"],
)
POSTGRESQL_TLS = Field(
    default=None,
    description="As libpq's `sslmode`. Default: `verify-full`, and `prefer` for a server on "
    "this machine.",
    examples=["verify-full"],
)
MARIADB_PASSWORD = Field(
    default=None,
    description="The password; without it the server must accept the user by its socket.",
    examples=["file:keys/shop-password"],
)
MARIADB_TLS = Field(
    default=None,
    description="`verify` also checks the certificate. Default: `verify`, and for a server on "
    "this machine whatever it offers.",
    examples=["verify"],
)
CA_FILE = Field(
    default=None,
    description="Certificate authorities to trust. Default: those of this machine.",
    examples=["/etc/ssl/company-ca.pem"],
)
S3_SECRET = Field(description="The secret access key.", examples=["file:keys/s3-secret-access-key"])
S3_SESSION_TOKEN = Field(
    default=None,
    description="The session token of a temporary access key.",
    examples=["env:S3_SESSION_TOKEN"],
)
S3_REGION = Field(
    default="us-east-1", description="The region of the bucket.", examples=["eu-central-1"]
)
S3_ENDPOINT = Field(
    default=None,
    description="The address of an S3 service other than Amazon's.",
    examples=["https://s3.example.com"],
)
S3_CA_FILE = Field(
    default=None,
    description="Certificate authorities to trust, if the certificate is not from a public one.",
    examples=["/etc/ssl/company-ca.pem"],
)
VERIFY_TLS = Field(
    default=True, description="Verify the server's certificate. Prefer `ca_file` to disabling this."
)
PER_SECOND = Field(
    default=None,
    description="Accounts a second. Default: limited only by the workers.",
    examples=[25],
)
BURST = Field(
    default=16,
    description="Accounts that may be processed at once before `per_second` limits the rate.",
)
