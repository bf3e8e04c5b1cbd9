"""Fixtures for all tests; modules of `servers/` describe their own."""

import gc
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from backup.system.network_shutdown import NETWORK_SHUTDOWN, NetworkShutdown
from tests.ledger_schema import postgres_ledger_template, postgres_ledger_url
from tests.process_caches import keep_compiled_statements, keep_derived_keys
from tests.sampling import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_report_header,
    pytest_terminal_summary,
)
from tests.servers.canaille import canaille_server, iam_configuration
from tests.servers.glewlwyd import glewlwyd_server
from tests.servers.linux_host import linux_host
from tests.servers.mariadb import mariadb_server
from tests.servers.moto import moto_server
from tests.servers.postgres import postgres_server, postgres_url
from tests.servers.redis import redis_server
from tests.servers.samba import samba_server
from tests.servers.scim import scim_process, scim_server
from tests.servers.seaweedfs import s3_bucket, seaweedfs_server
from tests.servers.sendgrid import sendgrid_server
from tests.servers.ses import ses_server
from tests.servers.slapd import slapd_server
from tests.servers.smtp import smtp_server
from tests.servers.timestamp_authority import running_timestamp_authority, timestamp_authority

__all__ = [
    "canaille_server",
    "glewlwyd_server",
    "iam_configuration",
    "linux_host",
    "mariadb_server",
    "moto_server",
    "postgres_ledger_template",
    "postgres_ledger_url",
    "postgres_server",
    "postgres_url",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_report_header",
    "pytest_terminal_summary",
    "redis_server",
    "running_timestamp_authority",
    "s3_bucket",
    "samba_server",
    "scim_process",
    "scim_server",
    "seaweedfs_server",
    "sendgrid_server",
    "ses_server",
    "slapd_server",
    "smtp_server",
    "timestamp_authority",
]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from collected tests.

    Some million objects are made that all live to the end, and would be examined many times.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def no_request_to_end() -> Iterator[None]:
    """Withdraw a request to end the process after each test."""
    yield
    if NETWORK_SHUTDOWN.is_begun:
        vars(NETWORK_SHUTDOWN).update(vars(NetworkShutdown()))


keep_derived_keys()
keep_compiled_statements()

# A busy machine is slow at times: how long one example takes proves nothing.
settings.register_profile("standfast", deadline=None)
settings.load_profile("standfast")
