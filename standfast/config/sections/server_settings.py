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
    description="Its password; without one the server must let it in by peer or trust.",
    examples=["file:keys/crm-password"],
)
POSTGRESQL_TLS = Field(
    default=None,
    description="As libpq's `sslmode`. Without it `verify-full`, and `prefer` for a server on "
    "this machine.",
    examples=["verify-full"],
)
MARIADB_PASSWORD = Field(
    default=None,
    description="The password; without one the server must let the user in by its socket.",
    examples=["file:keys/shop-password"],
)
MARIADB_TLS = Field(
    default=None,
    description="`verify` also checks the certificate. Without it `verify`, and for a server "
    "on this machine whatever it offers.",
    examples=["verify"],
)
CA_FILE = Field(
    default=None,
    description="Certificate authorities to trust for it; those of this machine without it.",
    examples=["/etc/ssl/company-ca.pem"],
)
S3_SECRET = Field(description="The access key.", examples=["file:keys/s3-secret-access-key"])
S3_SESSION_TOKEN = Field(
    default=None,
    description="The token that belongs to a temporary access key.",
    examples=["env:S3_SESSION_TOKEN"],
)
S3_REGION = Field(
    default="us-east-1", description="The bucket's region.", examples=["eu-central-1"]
)
S3_ENDPOINT = Field(
    default=None,
    description="The address of an S3 that is not Amazon's.",
    examples=["https://s3.example.com"],
)
S3_CA_FILE = Field(
    default=None,
    description="Certificate authorities to trust for it, when it is not a public one.",
    examples=["/etc/ssl/company-ca.pem"],
)
VERIFY_TLS = Field(
    default=True,
    description="Verify the server's certificate. Prefer `ca_file` to switching this off.",
    examples=[True],
)
PER_SECOND = Field(
    default=None,
    description="Accounts a second; left out, no limit but the workers.",
    examples=[25],
)
BURST = Field(
    default=16,
    description="Accounts that may go at once before `per_second` holds.",
    examples=[16],
)
