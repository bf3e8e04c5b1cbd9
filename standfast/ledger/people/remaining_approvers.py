"""Rule on the approvers that remain after a removal."""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import RowMapping

from standfast.errors import ApprovalRefused


def refuse_too_few(
    leaving: RowMapping, group: Sequence[RowMapping], roots: Mapping[str, str], minimum: int
) -> None:
    """Raise ApprovalRefused if fewer than `minimum` approvers would remain.

    Approvers are counted in total and for each role of the leaving person. `roots` maps each name
    to the first person in its series of enrolments; people with the same root count as one.
    """
    for role in ("", *json.loads(leaving["roles"])):
        remaining = {
            roots[candidate["name"]]
            for candidate in group
            if candidate["name"] != leaving["name"]
            and (not role or role in json.loads(candidate["roles"]))
        }
        if len(remaining) >= minimum:
            continue
        number = "only one approver" if remaining else "no approver"
        action = (
            "Add --second PERSON, an approver who signs too, or use --owner-key FILE."
            if remaining
            else "Sign with the owner's key: --owner-key FILE."
        )
        raise ApprovalRefused(
            f"{leaving['name']!r}: {number}{f' as {role}' if role else ''} would remain. {action}"
        )
