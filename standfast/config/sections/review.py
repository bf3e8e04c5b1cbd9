"""Settings of `[review]`: thresholds of detections in frozen logs."""

from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section

Threshold = Annotated[int, Field(ge=1, le=1_000_000)]


class ReviewConfig(Section):
    """Thresholds of the detections of `standfast evidence review`."""

    accounts_per_address: Threshold = Field(
        default=10,
        description="Different accounts that sign in, or try to, from one address within an hour.",
        examples=[10],
    )
    records_per_hour: Threshold = Field(
        default=200,
        description="Different objects that one account uses within an hour.",
        examples=[200],
    )
    known_sign_ins: Threshold = Field(
        default=5,
        description="Earlier sign-ins of an account, after which a sign-in from a new device or "
        "address is a finding.",
        examples=[5],
    )
    travel_kmh: Threshold = Field(
        default=900,
        description="The fastest travel, in km/h, between two sign-ins of an account whose log has "
        "coordinates.",
        examples=[900],
    )
    travel_hours: Threshold = Field(
        default=2,
        description="The hours within which sign-ins of an account from two countries are a "
        "finding, if the log has no coordinates.",
        examples=[2],
    )
