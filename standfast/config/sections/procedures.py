"""Settings of procedures: `[commands.NAME]` and `[requests.NAME]`.

The behaviour is in `standfast/adapters/procedures/`.

Rules
- A playbook can call only these procedures: it names one and sets its parameters.
- `{parameter}` in an argument, an address or a body is replaced by a declared parameter, `{{` by a
  brace. A program, a scheme and a host are never parameters.
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
    like,
    web_address,
)

ProcedureName = Annotated[
    str,
    like(
        r"[a-z][a-z0-9_-]{0,39}",
        "the name of a command or a request has at most 40 lower-case letters, digits, - and _",
    ),
]
ParameterName = Annotated[
    str, like(r"[a-z][a-z0-9_]{0,39}", "a parameter has lower-case letters, digits and _")
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
        raise ValueError("the program comes first, with its whole path")
    return argv


def _program_or_none(argv: tuple[str, ...]) -> tuple[str, ...]:
    return _program(argv) if argv else argv


class ParameterConfig(Section):
    """One parameter of a command or a request."""

    type: Literal["word", "host", "address", "number", "choice", "text"] = Field(
        default="word",
        description="What it may be: `word` (letters, digits and . _ @ + -), `host`, `address` (IP "
        "or network), `number`, `choice`, or `text` (one line of anything, not beginning with -).",
        examples=["host"],
    )
    options: Items[Line] = Field(
        default=(), description="For `choice`: what it may be.", examples=[["quick", "full"]]
    )
    account_of: Name | None = Field(
        default=None,
        description="It names, by a word or a choice, an account of this directory, or of a system "
        "without a connector, which the call locks: what is protected as `SYSTEM:ACCOUNT` is then "
        "refused, and the limits on how many one person may lock count it.",
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
    """A command that playbooks may run here, without a shell."""

    argv: Annotated[Items[str], AfterValidator(_program)] = Field(
        description="The program with its whole path, and its arguments.",
        examples=[["/usr/local/sbin/isolate-host", "--host={target}"]],
    )
    observe: Annotated[Items[str], AfterValidator(_program_or_none)] = Field(
        default=(),
        description="What says whether it is in effect: it ends with 0 for yes and 1 for no. "
        "Without it, what was interrupted waits for a person to say.",
        examples=[["/usr/local/sbin/isolate-host", "--is-isolated", "--host={target}"]],
    )
    undo: Annotated[Items[str], AfterValidator(_program_or_none)] = Field(
        default=(),
        description="What takes it back. Without it, it counts as irreversible. While another open "
        "incident holds the very same call, alike in every parameter, it is left in effect.",
        examples=[["/usr/local/sbin/isolate-host", "--release", "--host={target}"]],
    )
    parameters: Mapping[ParameterName, ParameterConfig] = Field(
        default={}, description="Its parameters; `target` is filled with each of a step's targets."
    )
    user: Line | None = Field(
        default=None,
        description="The user that it runs as; for that Standfast must run as root.",
        examples=["netops"],
    )
    environment: Mapping[str, Line] = Field(
        default={},
        description="Variables besides PATH, LANG and STANDFAST_TOKEN; nothing else is passed on.",
        examples=[{"SITE": "london"}],
    )
    secrets: Mapping[str, SecretReference] = Field(
        default={},
        description="Variables that hold secrets. What it prints of them is masked.",
        examples=[{"FIREWALL_KEY": "env:FIREWALL_KEY"}],
    )
    succeeds_with: Annotated[Items[Annotated[int, Field(ge=0, le=255)]], Field(min_length=1)] = (
        Field(default=(0,), description="The exit statuses that mean success.", examples=[[0]])
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=30,
        description="After this it is cut off, and counts as unknown.",
        examples=[30],
    )
    workers: Workers = Field(default=4, description="How many at once.", examples=[4])
    changes_nothing: bool = Field(
        default=False,
        description="It only reads, so there is nothing to take back.",
        examples=[True],
    )


class CallConfig(Section):
    """One HTTP request."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = Field(
        default="POST", description="The method.", examples=["POST"]
    )
    url: AddressTemplate = Field(
        description="The address; parameters may stand in its path and query.",
        examples=["https://pbx.example.com/api/routes/{route}"],
    )
    body: Mapping[str, Any] | None = Field(
        default=None,
        description="The body, sent as JSON; parameters may stand in its texts.",
        examples=[{"mode": "{mode}"}],
    )
    expected: Annotated[Items[Status], Field(min_length=1)] = Field(
        default=(200, 201, 202, 204),
        description="The statuses that mean success.",
        examples=[[200, 204]],
    )


class LookConfig(Section):
    """A GET request that shows whether the request has taken effect."""

    url: AddressTemplate = Field(
        description="The address.", examples=["https://pbx.example.com/api/routes/{route}"]
    )
    is_in_effect_with: Annotated[Items[Status], Field(min_length=1)] = Field(
        default=(200,), description="The statuses that mean yes.", examples=[[200]]
    )
    is_not_with: Items[Status] = Field(
        default=(404,), description="The statuses that mean no.", examples=[[404]]
    )
    field: Text | None = Field(
        default=None,
        description="A field of the JSON answer, with dots between, that must have `value` for a "
        "yes.",
        examples=["route.mode"],
    )
    value: Text | None = Field(
        default=None,
        description="What that field must be; parameters may stand in it.",
        examples=["{mode}"],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.field is None) != (self.value is None):
            raise ValueError("field and value belong together")
        return self


class RequestConfig(CallConfig):
    """An HTTP request that playbooks may send."""

    observe: LookConfig | None = Field(
        default=None,
        description="How to look whether it took effect. Without it, what got no answer waits for "
        "a person to say.",
    )
    undo: CallConfig | None = Field(
        default=None,
        description="What takes it back. Without it, it counts as irreversible. While another open "
        "incident holds the very same call, alike in every parameter, it is left in effect.",
    )
    parameters: Mapping[ParameterName, ParameterConfig] = Field(
        default={}, description="Its parameters; `target` is filled with each of a step's targets."
    )
    headers: Mapping[str, Line] = Field(
        default={}, description="Headers of every request.", examples=[{"Accept": "text/plain"}]
    )
    bearer: SecretReference | None = Field(
        default=None,
        description="A token for `Authorization: Bearer`.",
        examples=["env:PBX_TOKEN"],
    )
    secrets: Mapping[str, SecretReference] = Field(
        default={},
        description="Headers whose values are secret.",
        examples=[{"X-Api-Key": "env:PBX_KEY"}],
    )
    idempotency_header: Line = Field(
        default="Idempotency-Key",
        description="The header with the token that is the same at every try.",
        examples=["Idempotency-Key"],
    )
    verify_tls: bool = VERIFY_TLS
    ca_file: Place | None = Field(
        default=None,
        description="A PEM file with the authority that signed the server's certificate.",
        examples=["keys/pbx-ca.pem"],
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=10.0,
        description="Hard bound on one request; after it the result counts as unknown.",
        examples=[10],
    )
    workers: Workers = Field(default=4, description="How many at once.", examples=[4])
    per_second: Seconds | None = Field(
        default=None, description="Requests a second; left out, no limit.", examples=[5]
    )
    changes_nothing: bool = Field(
        default=False,
        description="It only reads, so there is nothing to take back. A GET is taken for that.",
        examples=[True],
    )


class ServiceModeConfig(Section):
    """A mode of a service while it or a dependency is unavailable.

    Its command or request switches to the mode; the undo of that switches back.
    """

    command: ProcedureName | None = Field(
        default=None, description="The command that switches it.", examples=["ivr-mode"]
    )
    request: ProcedureName | None = Field(
        default=None, description="Or the request that does.", examples=["pbx-route"]
    )
    parameters: Mapping[ParameterName, Any] = Field(
        default={},
        description="What its parameters are in this mode.",
        examples=[{"mode": "callback"}],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if (self.command is None) == (self.request is None):
            raise ValueError("a mode has either a command or a request")
        for name, value in self.parameters.items():
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"the parameter {name} is a text or a whole number")
        return self

    @property
    def procedure(self) -> str:
        """The procedure that switches the mode: `commands.ivr-mode`."""
        return f"commands.{self.command}" if self.command else f"requests.{self.request}"
