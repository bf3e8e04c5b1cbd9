"""What the status of a directory's answer means, in words for a person; pure.

Rules
- An error without a time to retry is final: trying again will not help.
- Nothing of the answer's body is quoted.
"""

from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.retry_rules import RETRY_SECONDS

# Conflicts of versions and half-heard requests; the changes we make are idempotent.
_WORTH_ANOTHER_TRY = (408, 409, 412, 425)


def status_error(answer: Answer) -> Unavailable:
    """Put a status that is no success into words; one without a time to retry is final."""
    status = answer.status
    if status in (401, 403):
        return Unavailable(
            "the directory refuses our credential; "
            "renew its token, or give it the right to read and change accounts"
        )
    if answer.is_busy:
        return Unavailable(
            "the directory is busy",
            retry_after_seconds=answer.retry_after_seconds or RETRY_SECONDS,
        )
    if status < 400:
        return Unavailable(f"the directory redirects (status {status}); write its final address")
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return Unavailable(
            f"the directory failed (status {status})", retry_after_seconds=RETRY_SECONDS
        )
    return Unavailable(f"the directory does not accept the request (status {status})")


def is_declined(answer: Answer) -> bool:
    """Tell whether a change was turned down for good: asked again, it would be again."""
    is_ours_to_mend = 400 <= answer.status < 500 and answer.status not in (401, 403)
    return is_ours_to_mend and status_error(answer).retry_after_seconds is None
