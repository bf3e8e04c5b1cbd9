"""Settings of a test, with the secrets in plain text."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from standfast.config import SecretReference
from standfast.config.base_section import Section
from standfast.config.validation import choices_of, kinds_of, sections_in

S = TypeVar("S", bound=Section)

_SECRETS: dict[SecretReference, str] = {}


def settings_of(section: type[S], **values: Any) -> S:
    """Return settings with references in place of the secrets."""
    return section.model_validate(_with_references(section, values))


def reveal(reference: SecretReference) -> str:
    """Return the secret that was written in plain text."""
    return _SECRETS[reference]


def _with_references(annotation: Any, value: Any) -> Any:
    for choice in choices_of(annotation):
        if choice is SecretReference and isinstance(value, str):
            reference = SecretReference(f"env:SECRET_{len(_SECRETS)}")
            _SECRETS[reference] = value
            return reference
        if get_origin(choice) is Mapping and isinstance(value, Mapping):
            inner = get_args(choice)[1]
            return {key: _with_references(inner, one) for key, one in value.items()}
    if not isinstance(value, Mapping) or not (sections := sections_in(annotation)):
        return value
    (section,) = sections
    fields = section.model_fields
    kind = dict.fromkeys(["kind"], kinds_of(section)[0]) if kinds_of(section) else {}
    return kind | {key: _with_references(fields[key].annotation, one) for key, one in value.items()}
