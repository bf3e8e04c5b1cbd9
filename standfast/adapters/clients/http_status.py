"""Errors for the HTTP statuses of a provider's answers.

Rules
- An error without `retry_after_seconds` is final: a retry will not help.
- The body of the answer is not quoted, because it may contain the name of an account.
"""

from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.retry_rules import RETRY_SECONDS

# Version conflicts and incomplete requests may be retried: all changes are idempotent.
_WORTH_ANOTHER_TRY = (408, 409, 412, 425)


def status_error(answer: Answer) -> Unavailable:
    """Return the error for an unsuccessful status.

    An error without `retry_after_seconds` is final.
    """
    status = answer.status
    if status in (401, 403):
        return Unavailable(
            "the provider refuses the configured credential. Renew its token, or grant it the "
            "rights that this call needs."
        )
    if answer.is_busy:
        return Unavailable(
            "the provider is busy", retry_after_seconds=answer.retry_after_seconds or RETRY_SECONDS
        )
    if status < 400:
        return Unavailable(
            f"the provider redirects (status {status}). Configure its final address."
        )
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return Unavailable(
            f"the provider failed (status {status})", retry_after_seconds=RETRY_SECONDS
        )
    return Unavailable(f"the provider refuses the request (status {status})")


def is_declined(answer: Answer) -> bool:
    """Return whether a change was refused permanently."""
    is_ours_to_mend = 400 <= answer.status < 500 and answer.status not in (401, 403)
    return is_ours_to_mend and status_error(answer).retry_after_seconds is None
