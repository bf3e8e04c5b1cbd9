"""The fixtures that every test may ask for; each module under `servers/` describes its own."""

from tests.servers.canaille import canaille_server, iam_configuration
from tests.servers.postgres import postgres_server, postgres_url
from tests.servers.scim import scim_process, scim_server
from tests.servers.seaweedfs import s3_bucket, seaweedfs_server
from tests.servers.smtp import smtp_server

__all__ = [
    "canaille_server",
    "iam_configuration",
    "postgres_server",
    "postgres_url",
    "s3_bucket",
    "scim_process",
    "scim_server",
    "seaweedfs_server",
    "smtp_server",
]
