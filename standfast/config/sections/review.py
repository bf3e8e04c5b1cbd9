"""Settings of `[review]`: detections, and records of customers in logs.

A review searches the evidence (signed copies of logs and files) of an incident. A detection is one
of its rules, such as sign-ins from two countries within two hours.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from standfast.config.base_section import Section
from standfast.config.value_types import Line, Name

Threshold = Annotated[int, Field(ge=1, le=1_000_000)]


def _record_pattern(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    if "record" not in groups:
        raise ValueError("name the part that is the record: (?P<record>…)")
    return pattern


class RecordPatternConfig(Section):
    """The pattern that finds the records of one kind in logs."""

    pattern: Annotated[str, AfterValidator(_record_pattern)] = Field(
        description="A regular expression that is searched in each event. Its group `record` is "
        "the key of the record.",
        examples=[r"/customers/(?P<record>\d+)"],
    )
    exposed: Line = Field(
        description="The data that a reader of such a record sees.", examples=["name, iban"]
    )
    audience: Name | None = Field(
        default=None,
        description="The audience in `[audiences.NAME]` whose keys are these records. Default: "
        "the people count as affected, and cannot be notified.",
        examples=["customers"],
    )


class ReviewConfig(Section):
    """Thresholds of the detections of `standfast evidence review`."""

    accounts_per_address: Threshold = Field(
        default=10,
        description="The smallest number of different accounts that is a finding if they sign "
        "in, or try to, from one address within an hour.",
        examples=[10],
    )
    records_per_hour: Threshold = Field(
        default=200,
        description="The smallest number of different objects that is a finding if one account "
        "uses them within an hour.",
        examples=[200],
    )
    known_sign_ins: Threshold = Field(
        default=5,
        description="The number of earlier sign-ins of an account after which a sign-in from a new "
        "device or address is a finding.",
        examples=[5],
    )
    travel_kmh: Threshold = Field(
        default=900,
        description="The speed in km/h above which the travel between two sign-ins of an account "
        "is a finding, if the log has coordinates.",
        examples=[900],
    )
    travel_hours: Threshold = Field(
        default=2,
        description="The hours within which sign-ins of an account from two countries are a "
        "finding, if the log has no coordinates.",
        examples=[2],
    )
    records: Mapping[Name, RecordPatternConfig] = Field(
        default={}, description="Records of customers that logs name, by kind."
    )
