"""Fork server: imports modules and derives keys once for all killed runs."""

import gc
from contextlib import suppress

import backup.archiver.backup_run
import backup.archiver.worker_reader
import backup.repository
import backup.restorer.restore_run
import flows.serve_loop
import standfast.adapters.accounts.openldap
import standfast.adapters.evidence_sources.files
import standfast.adapters.factory.live_adapters
import standfast.adapters.senders.sendgrid.sender
import standfast.adapters.senders.smtp.sender
import standfast.usecases.incidents.built_in_procedures
import tests.kill.backup_and_drill
import tests.kill.scenario
from backup.stores.s3 import S3Options
from standfast.adapters import factory
from standfast.notices.template_folder import read_templates
from standfast.people.passphrase_keys import is_passphrase_of
from tests.kill.enrolled import CREDENTIALS, PASSPHRASES
from tests.process_caches import keep_derived_keys

__all__ = ["backup", "flows", "standfast", "tests"]

# The derivation of a key is slow on purpose, and the compilation of a template is slow too.
keep_derived_keys()
for person, passphrase in PASSPHRASES.items():
    assert is_passphrase_of(passphrase, CREDENTIALS[person])
_SHIPPED = read_templates()
for name in ("approval-request", "customers-account-takeover"):
    _SHIPPED[name]
setattr(factory, "read_templates", lambda _own: _SHIPPED)  # noqa: B010 - no name of its interface

# The first client reads megabytes of descriptions, which later ones share.
with suppress(ModuleNotFoundError):  # without boto3, no test needs a client
    from backup.stores.s3.client import Calls

    Calls(
        S3Options(bucket="none", access_key_id="none", secret_access_key="none"),
        pause=lambda _: None,
        jitter=lambda: 0.0,
    )

gc.collect()
gc.freeze()  # constant memory stays shared with forked processes
