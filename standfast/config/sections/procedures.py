"""Settings of procedures: `[commands.NAME]` and `[requests.NAME]`.

A procedure is a command or an HTTP request. The behaviour is in `standfast/adapters/procedures/`.

Rules
- A playbook can call only these procedures: it names a procedure and sets its parameters.
- `{parameter}` in an argument, an address or a body is replaced by the value of a declared
  parameter, and `{{` by a brace. Parameters are not permitted in the program, the scheme and the
  host.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.server_settings import VERIFY_TLS
from standfast.config.value_types import (
    Items,
    Line,
    Name,
    Place,
    Seconds,
    SecretReference,
    Text,
    Workers,
    matching,
    web_address,
)

ProcedureName = Annotated[
    str,
    matching(
        r"[a-z][a-z0-9_-]{0,39}",
        "the name of a command or a request has at most 40 lower-case letters, digits, - and _",
    ),
]
ParameterName = Annotated[
    str, matching(r"[a-z][a-z0-9_]{0,39}", "a parameter has lower-case letters, digits and _")
]
Status = Annotated[int, Field(ge=100, le=599)]


def _address(text: str) -> str:
    """Validate a template as a web address, except for its path and query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("not a web address; write https://host/path") from None
    web_address(urlunsplit((parts.scheme, parts.netloc, "", "", parts.fragment)))
    return text


AddressTemplate = Annotated[str, AfterValidator(_address)]


def _program(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or not argv[0].startswith("/"):
        raise ValueError("begin with the program and its absolute path")
    return argv


def _program_or_none(argv: tuple[str, ...]) -> tuple[str, ...]:
    return _program(argv) if argv else argv


class ParameterConfig(Section):
    """One parameter of a command or a request."""

    type: Literal["word", "host", "address", "number", "choice", "text"] = Field(
        default="word",
        description="The permitted values: `word` (letters, digits and . _ @ + -), `host`, "
        "`address` (IP or network), `number`, `choice`, or `text` (any line that does not begin "
        "with -).",
        examples=["host"],
    )
    options: Items[Line] = Field(
        default=(), description="The permitted values of a `choice`.", examples=[["quick", "full"]]
    )
    account_of: Name | None = Field(
        default=None,
        description="The parameter names an account of this directory, or of a system without a "
        "connector, that the call locks. Accounts that are protected as `SYSTEM:ACCOUNT` are "
        "then refused, and the limits for one person count the lock. This setting is only for "
        "the types `word` and `choice`.",
        examples=["phones"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.type == "choice") != bool(self.options):
            raise ValueError("options belong to a parameter of type choice, and it needs them")
        if self.account_of is not None and self.type not in ("word", "choice"):
            raise ValueError(
                "an account is named by a word or a choice; others have many spellings"
            )
        return self


class CommandConfig(Section):
    """A command that playbooks and hooks may run here, without a shell."""

    argv: Annotated[Items[str], AfterValidator(_program)] = Field(
        description="The program with its absolute path, and its arguments.",
        examples=[["/usr/local/sbin/isolate-host", "--host={target}"]],
    )
    observe: Annotated[Items[str], AfterValidator(_program_or_none)] = Field(
        default=(),
        description="The command that reports whether a call is in effect: it exits with 0 for "
        "yes and 1 for no. Without it, a person must answer this question after an interrupted "
        "call.",
        examples=[["/usr/local/sbin/isolate-host", "--is-isolated", "--host={target}"]],
    )
    undo: Annotated[Items[str], AfterValidator(_program_or_none)] = Field(
        default=(),
        description="The command that undoes the call. Without it, the command counts as "
        "irreversible. While another open incident has made the same call with equal parameters, "
        "the call cannot be undone.",
        examples=[["/usr/local/sbin/isolate-host", "--release", "--host={target}"]],
    )
    parameters: Mapping[ParameterName, ParameterConfig] = Field(
        default={}, description="The parameters. `target` receives each target of a step."
    )
    user: Line | None = Field(
        default=None,
        description="The user that runs the command. Standfast must then run as root.",
        examples=["netops"],
    )
    environment: Mapping[str, Line] = Field(
        default={},
        description="Variables besides PATH, LANG and STANDFAST_TOKEN. No other variable is "
        "passed on.",
        examples=[{"SITE": "london"}],
    )
    secrets: Mapping[str, SecretReference] = Field(
        default={},
        description="Variables with secrets. The secrets are masked in the command's output.",
        examples=[{"FIREWALL_KEY": "env:FIREWALL_KEY"}],
    )
    succeeds_with: Annotated[Items[Annotated[int, Field(ge=0, le=255)]], Field(min_length=1)] = (
        Field(default=(0,), description="The exit statuses that mean success.", examples=[[0]])
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=30,
        description="Time limit. After it the call is cut off, and its outcome is unknown.",
    )
    workers: Workers = Field(default=4, description="Concurrent calls.")
    changes_nothing: bool = Field(
        default=False,
        description="The command only reads, so nothing has to be undone.",
        examples=[True],
    )


class CallConfig(Section):
    """One HTTP request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="POST", description="The method."
    )
    url: AddressTemplate = Field(
        description="The address. Its path and query may contain parameters.",
        examples=["https://pbx.example.com/api/routes/{route}"],
    )
    body: Mapping[str, Any] | None = Field(
        default=None,
        description="The body, sent as JSON. Its texts may contain parameters.",
        examples=[{"mode": "{mode}"}],
    )
    expected: Annotated[Items[Status], Field(min_length=1)] = Field(
        default=(200, 201, 202, 204),
        description="The statuses that mean success.",
        examples=[[200, 204]],
    )


class EffectCheckConfig(Section):
    """A GET request that shows whether the request has taken effect."""

    url: AddressTemplate = Field(
        description="The address.", examples=["https://pbx.example.com/api/routes/{route}"]
    )
    is_in_effect_with: Annotated[Items[Status], Field(min_length=1)] = Field(
        default=(200,),
        description="The statuses that mean that the request is in effect.",
        examples=[[200]],
    )
    is_not_with: Items[Status] = Field(
        default=(404,),
        description="The statuses that mean that the request is not in effect.",
        examples=[[404]],
    )
    field: Text | None = Field(
        default=None,
        description="A field of the JSON answer, with dots between the names. The request is in "
        "effect only if the field equals `value`.",
        examples=["route.mode"],
    )
    value: Text | None = Field(
        default=None,
        description="The value of that field. It may contain parameters.",
        examples=["{mode}"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.field is None) != (self.value is None):
            raise ValueError("field and value belong together")
        return self


class RequestConfig(CallConfig):
    """An HTTP request that playbooks and events may send."""

    observe: EffectCheckConfig | None = Field(
        default=None,
        description="How to look up whether the request took effect. Without it, a request "
        "without an answer waits for a person's answer.",
    )
    undo: CallConfig | None = Field(
        default=None,
        description="The request that undoes the call. Without it, the request counts as "
        "irreversible. While another open incident has made the same call with equal parameters, "
        "the call cannot be undone.",
    )
    parameters: Mapping[ParameterName, ParameterConfig] = Field(
        default={}, description="The parameters. `target` receives each target of a step."
    )
    headers: Mapping[str, Line] = Field(
        default={}, description="Headers of every request.", examples=[{"Accept": "text/plain"}]
    )
    bearer: SecretReference | None = Field(
        default=None, description="A token for `Authorization: Bearer`.", examples=["env:PBX_TOKEN"]
    )
    secrets: Mapping[str, SecretReference] = Field(
        default={},
        description="Headers whose values are secret.",
        examples=[{"X-Api-Key": "env:PBX_KEY"}],
    )
    signing_secret: SecretReference | None = Field(
        default=None,
        description="The secret (`whsec_…`) with which each request is signed by Standard "
        "Webhooks.",
        examples=["file:keys/webhook-secret"],
    )
    idempotency_header: Line = Field(
        default="Idempotency-Key",
        description="The header with the token of the effect. The token is the same in every "
        "attempt.",
    )
    verify_tls: bool = VERIFY_TLS
    ca_file: Place | None = Field(
        default=None,
        description="A PEM file with the authority that signed the server's certificate.",
        examples=["keys/pbx-ca.pem"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=10.0, description="Time limit of one request. After it the outcome is unknown."
    )
    workers: Workers = Field(default=4, description="Concurrent calls.")
    per_second: Seconds | None = Field(
        default=None, description="Requests a second. Default: no limit.", examples=[5]
    )
    changes_nothing: bool = Field(
        default=False,
        description="The request only reads, so nothing has to be undone. "
        "A GET always counts as a read.",
        examples=[True],
    )
