"""What the fork server imports and derives once, so that each of hundreds of deaths is cheap."""

import functools
import gc
from contextlib import suppress

import backup.reader
import backup.restoring.restore
import backup.writer
import backup.writing.apart
import flows.serve
import standfast.accounts.openldap
import standfast.evidence.files
import standfast.notices.senders.sendgrid
import standfast.notices.senders.smtp
import standfast.operations.own_acts
import standfast.outside.live
import tests.kill.night
import tests.kill.scenario
from backup.stores.s3 import S3Options
from standfast import outside
from standfast.notices.folder import read_templates
from standfast.people import sign_in
from tests.kill.enrolled import PASSPHRASES, SALT

__all__ = ["backup", "flows", "standfast", "tests"]

# A key is slow to derive on purpose, and a template slow to compile.
sign_in._derive = functools.cache(sign_in._derive)
for passphrase in PASSPHRASES.values():
    sign_in._derive(passphrase, SALT)
_SHIPPED = read_templates()
for name in ("approval-request", "customers-account-takeover"):
    _SHIPPED[name]
setattr(outside, "read_templates", lambda _own: _SHIPPED)  # noqa: B010 - no name of its interface

# The first client reads megabytes of descriptions, which later ones share.
with suppress(ModuleNotFoundError):  # without boto3 no test needs one
    from backup.stores.s3_calls import Calls

    Calls(
        S3Options(bucket="none", access_key_id="none", secret_access_key="none"),
        pause=lambda _: None,
        jitter=lambda: 0.0,
    )

gc.collect()
gc.freeze()  # what never changes stays shared with those who are forked
