"""Parameters of a procedure: types, checks and templates.

Rules
- `{name}` in a template is one declared parameter, `{{` and `}}` are braces. A template that names
  another parameter is refused when the procedure is built.
- A value never begins with a hyphen, because a program could read it as an option. A value has no
  control character, because that could end a line. Only a whole number may be negative.
- An order (the request to call a procedure) must have every declared parameter and no other
  parameter. Error messages name the parameter, never its value.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence

from standfast.config.sections.procedures import ParameterConfig
from standfast.errors import ConfigurationError, UsageError
from standfast.records import Json, JsonObject

LONGEST_VALUE = 1_000
LARGEST_NUMBER = 2**53 - 1
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,254}", re.ASCII)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)


_WANTED = {
    "word": "one word of letters, digits and . _ @ + -",
    "host": "the name of a host or an IP address",
    "address": "an IP address, or a network such as 10.0.0.0/8",
    "number": "a whole number",
    "text": f"one line of at most {LONGEST_VALUE} characters, not beginning with -",
}


def parameters_of(details: JsonObject) -> Mapping[str, Json]:
    """Return the parameters of an order."""
    given = details.get("parameters")
    return given if isinstance(given, Mapping) else {}


def read_parameters(
    name: str, declared: Mapping[str, ParameterConfig], details: JsonObject
) -> dict[str, str]:
    """Return every declared parameter as text; UsageError if one is invalid."""
    given = parameters_of(details)
    for key in given:
        if key not in declared:
            known = ", ".join(declared) or "none"
            raise UsageError(f"{name} has no parameter {key!r}; its parameters are: {known}")
    found: dict[str, str] = {}
    for key, parameter in declared.items():
        value = given.get(key)
        if value is None:
            raise UsageError(f"{name} needs the parameter {key!r}")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not _fits(parameter, value):
            wanted = _WANTED.get(parameter.type) or "one of " + ", ".join(parameter.options)
            raise UsageError(f"the parameter {key!r} of {name} must be {wanted}")
        found[key] = value
    return found


def fill(template: str, values: Mapping[str, str], write: Callable[[str], str] = str) -> str:
    """Return a template with the values inserted, each encoded by `write`."""

    def put(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        return write(values[match[1]])

    return _PLACE.sub(put, template)


def check_templates(
    name: str, templates: Sequence[str], declared: Mapping[str, ParameterConfig]
) -> None:
    """Raise ConfigurationError if a template names an undeclared parameter."""
    for template in templates:
        for match in _PLACE.finditer(template):
            if match[0] in ("{{", "}}"):
                continue
            if match[1] is None:
                raise ConfigurationError(f"{name}: a single brace must be written as {{{{ or }}}}")
            if match[1] not in declared:
                known = ", ".join(declared) or "none"
                raise ConfigurationError(
                    f"{name}: {{{match[1]}}} is not declared as a parameter; declared are: {known}"
                )


def places(template: str) -> list[str]:
    """Return the names of the parameters in a template."""
    return [match[1] for match in _PLACE.finditer(template) if match[1]]


def _fits(parameter: ParameterConfig, value: str) -> bool:
    match parameter.type:
        case "number":
            is_number = re.fullmatch(r"-?[0-9]{1,16}", value, re.ASCII) is not None
            return is_number and abs(int(value)) <= LARGEST_NUMBER
        case "choice":
            return value in parameter.options
        case "word":
            return _WORD.fullmatch(value) is not None
        case "host":
            return _HOST.fullmatch(value) is not None or _is_address(value)
        case "address":
            return _is_address(value) or _is_network(value)
        case "text":
            is_short = 0 < len(value) <= LONGEST_VALUE
            return is_short and value.isprintable() and not value.startswith("-")


def _is_address(value: str) -> bool:
    try:
        # Refuse a zone (fe80::1%eth0): it is free text that the address class accepts.
        return "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def _is_network(value: str) -> bool:
    try:
        return "%" not in value and bool(ipaddress.ip_network(value, strict=False))
    except ValueError:
        return False
