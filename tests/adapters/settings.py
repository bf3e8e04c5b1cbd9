"""Settings as a test writes them: with the secrets in plain text."""

from collections.abc import Mapping
from typing import Any, TypeVar

from standfast.config import SecretReference
from standfast.config.base_section import Section
from standfast.config.validation import choices_of, kinds_of, sections_in

S = TypeVar("S", bound=Section)

_SECRETS: dict[SecretReference, str] = {}


def settings_of(section: type[S], **values: Any) -> S:
    """Return settings with references in place of the secrets."""
    return section.model_validate(_referred(section, values))


def reveal(reference: SecretReference) -> str:
    """Return the secret that was written in plain text."""
    return _SECRETS[reference]


def _referred(section: type[Section], values: Mapping[str, Any]) -> dict[str, Any]:
    referred: dict[str, Any] = {}
    if kinds := kinds_of(section):
        referred["kind"] = kinds[0]
    for key, value in values.items():
        annotation = section.model_fields[key].annotation
        if isinstance(value, str) and SecretReference in choices_of(annotation):
            reference = SecretReference(f"env:SECRET_{len(_SECRETS)}")
            _SECRETS[reference] = value
            referred[key] = reference
        elif isinstance(value, Mapping) and (inner := sections_in(annotation)):
            referred[key] = _referred(inner[0], value)
        else:
            referred[key] = value
    return referred
