"""What the fork server imports once, so that each of hundreds of deaths costs little."""

import backup.reader
import backup.writer
import standfast.accounts.scim
import standfast.evidence.files
import standfast.notices.senders.smtp
import standfast.operations.decisions
import standfast.operations.incident
import tests.operations.places

__all__ = ["backup", "standfast", "tests"]
