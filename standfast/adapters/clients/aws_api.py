"""AWS over plain HTTP: signed requests, and the meaning of error codes.

Evidence sources keep answers as AWS sent them, and the SDK returns them only parsed. So the SDK
signs the requests, and `standfast/http_client.py` sends them.

Rules
- Errors contain at most AWS's error code and never its message, which contains account names.
"""

import json
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import get_session

from standfast.adapters.clients.http_status import status_error
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject
from standfast.retry_rules import RETRY_SECONDS

AWS_BUSY = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
        "PriorRequestNotComplete",
    }
)
AWS_REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "NotAuthorizedException",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def aws_credentials(access_key_id: str | None, secret_access_key: str | None) -> Credentials:
    """Return the credentials of an access key, or those of this machine."""
    if access_key_id is not None and secret_access_key is not None:
        return Credentials(access_key_id, secret_access_key)
    found = get_session().get_credentials()
    if found is None:
        raise Unavailable(
            "AWS: no credentials. Set `access_key_id` and `secret_access_key`, or give this "
            "machine a role."
        )
    return found


def signed_headers(
    credentials: Credentials,
    service: str,
    region: str,
    url: str,
    headers: Mapping[str, str],
    body: JsonObject,
) -> tuple[Mapping[str, str], bytes]:
    """Return the headers and the content of a signed POST (SigV4)."""
    content = json.dumps(body).encode()
    request = AWSRequest("POST", url, data=content, headers=dict(headers))
    SigV4Auth(credentials.get_frozen_credentials(), service, region).add_auth(request)
    return dict(request.headers.items()), content


def aws_status_error(answer: Answer) -> Unavailable:
    """Return the error for an unsuccessful status."""
    code = _error_code(answer)
    if code in AWS_BUSY:
        return Unavailable(
            "AWS is busy", retry_after_seconds=answer.retry_after_seconds or RETRY_SECONDS
        )
    if code in AWS_REFUSED:
        return Unavailable(
            "AWS refuses the configured credential, or its policy lacks a right. Add it."
        )
    if answer.status < 500 and code.isascii() and code.isalnum():
        return Unavailable(f"AWS does not accept the request ({code})")
    return status_error(answer)


def _error_code(answer: Answer) -> str:
    """Return the code of an error in one of AWS's JSON protocols."""
    code: object = answer.headers.get("x-amzn-errortype")
    if code is None:
        try:
            body = answer.json()
        except (ValueError, RecursionError):
            return ""
        code = body.get("__type") if isinstance(body, dict) else ""
    return str(code).rpartition("#")[2].partition(":")[0]
