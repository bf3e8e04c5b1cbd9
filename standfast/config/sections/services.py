"""Settings of services, `[services.NAME]`: recovery times, checks, modes.

`standfast/continuity/` has the rules for dependencies between services.

Rules
- Recovery times are whole minutes, so that they can be compared and printed without rounding.
- A check shows that a restored service is usable. It names restored data: a path in the restored
  tree, or a database that was loaded from it. A check cannot name a live system.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from standfast.config.base_section import Section
from standfast.config.sections.procedures import ParameterName, ProcedureName
from standfast.config.value_types import Count, InnerPath, Items, Line, Minutes, Name, Seconds, Text


class SqliteCheckConfig(Section):
    """Check of a restored SQLite database.

    The check opens the database, tests its integrity, and compares its content with the expected
    content.
    """

    kind: Literal["sqlite"] = Field(description="A SQLite database in the restored tree.")
    path: InnerPath = Field(
        description="The database file in the restored tree, beginning with the name of its "
        "source.",
        examples=["crm/crm.db"],
    )
    minimum_rows: Mapping[str, Count] = Field(
        default={},
        description="Tables and the minimum number of rows of each.",
        examples=[{"customers": 1000}],
    )
    last_change: Text | None = Field(
        default=None,
        description="A query for the time of the last change in the data: one value, as ISO 8601 "
        "text (in UTC unless it states a zone) or Unix seconds. A drill counts the lost work "
        "from this time. Without this setting, it counts from the moment at which the backup was "
        "consistent.",
        examples=["SELECT max(changed_at) FROM contacts"],
    )


class DatabaseCheckConfig(Section):
    """Check of a database that the drill loaded into a throwaway server.

    The check compares the rows, the totals and the newest change with the expected values.
    """

    kind: Literal["database"] = Field(description="A database that the drill loaded from a dump.")
    source: Name = Field(description="The source of the backup set.", examples=["crm-server"])
    database: Line = Field(description="The name of the database.", examples=["crm"])
    minimum_rows: Mapping[str, Count] = Field(
        default={},
        description="Tables and the minimum number of rows of each.",
        examples=[{"customers": 1000}],
    )
    maximum_loss_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="The percentage of the rows of a table in `minimum_rows` that may be "
        "missing, compared with the last good drill of the set. Default: not compared.",
        examples=[5],
    )
    assertions: Items[Text] = Field(
        default=(),
        description="Queries that must each return true, such as a known total.",
        examples=[["SELECT sum(amount) = 1200.50 FROM invoices WHERE year = 2025"]],
    )
    last_change: Text | None = Field(
        default=None,
        description="A query for the time of the newest transaction: one value, as ISO 8601 text "
        "(in UTC unless it states a zone) or Unix seconds. A drill counts the lost work from "
        "this time. Without this setting, it counts from the moment at which the backup was "
        "consistent.",
        examples=["SELECT max(changed_at) FROM contacts"],
    )
    timeout_seconds: Seconds = Field(
        default=300.0,
        description="Time limit of each query in a drill. After it the check fails.",
        examples=[60],
    )


class CommandCheckConfig(Section):
    """Your own command; it exits with 0 if the restored service is usable."""

    kind: Literal["command"] = Field(
        description="Your own command, run without a shell. If it fails, the end of its output "
        "is shown, and kept in `drills.folder` until the next drill of the set."
    )
    command: Annotated[Items[str], Field(min_length=1)] = Field(
        description="The program and its arguments, run in the folder of the restored tree. "
        "Its environment contains the addresses of the throwaway servers: docs/drills.md lists "
        "them.",
        examples=[["/usr/local/bin/probe-crm", "--quick"]],
    )
    timeout_seconds: Seconds = Field(
        default=300.0, description="Time limit. After it the check fails.", examples=[60]
    )


CheckConfig: TypeAlias = Annotated[
    SqliteCheckConfig | DatabaseCheckConfig | CommandCheckConfig, Field(discriminator="kind")
]


class ServiceModeConfig(Section):
    """A degraded mode: a way to run a service while a part is unavailable.

    The command or request switches to the mode, and its undo switches back. A mode that people
    enter by hand, such as paper, has instructions instead.
    """

    kind: Literal["ivr", "callback", "site", "home", "partner", "paper", "other"] = Field(
        default="other",
        description="The form of the mode: a text of the IVR, callbacks, a second site, work "
        "from home, a partner, or paper.",
        examples=["callback"],
    )
    capacity_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="The share of the usual volume that the service handles in this mode.",
        examples=[40],
    )
    instructions: Text | None = Field(
        default=None,
        description="Steps that people do in this mode.",
        examples=["Write each order on form 7; the shift lead collects the forms."],
    )
    command: ProcedureName | None = Field(
        default=None, description="The command that switches to the mode.", examples=["ivr-mode"]
    )
    request: ProcedureName | None = Field(
        default=None,
        description="The request that switches to the mode, instead of a command.",
        examples=["pbx-route"],
    )
    parameters: Mapping[ParameterName, Any] = Field(
        default={},
        description="The values of the parameters of the command or request in this mode.",
        examples=[{"mode": "callback"}],
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if self.command is not None and self.request is not None:
            raise ValueError("a mode has a command or a request, not both")
        if self.procedure is None and self.instructions is None:
            raise ValueError("a mode has a command, a request or instructions")
        for name, value in self.parameters.items():
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"the parameter {name} is a text or a whole number")
        return self

    @property
    def procedure(self) -> str | None:
        """The procedure that switches the mode, such as `commands.ivr-mode`."""
        if self.command is not None:
            return f"commands.{self.command}"
        return None if self.request is None else f"requests.{self.request}"


class ServiceConfig(Section):
    """A service that the business needs, with its recovery objectives."""

    owner: Line = Field(
        description="The person or role in charge of the service.", examples=["Head of operations"]
    )
    rto_minutes: Minutes = Field(
        description="Recovery time objective: the service must be usable within this time "
        "after the declaration.",
        examples=[240],
    )
    rpo_minutes: Minutes = Field(
        description="Recovery point objective: the longest time between the newest restored "
        "change and the failure.",
        examples=[1440],
    )
    mtpd_minutes: Minutes | None = Field(
        default=None,
        description="Maximum tolerable period of disruption: beyond it the harm is not "
        "acceptable. It is never shorter than the recovery time objective. If a drill takes "
        "longer, its report says so.",
        examples=[2880],
    )
    minimum_capacity_percent: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="Minimum business continuity objective (ISO 22301): the share of the usual "
        "volume that the service must handle even in a disruption. `standfast continuity show` "
        "shows whether a degraded mode reaches this share.",
        examples=[40],
    )
    depends_on: Items[Name] = Field(
        default=(), description="Services that must be restored first.", examples=[["telephony"]]
    )
    sets: Items[Name] = Field(
        default=(),
        description="The backup sets that the service is restored from.",
        examples=[["crm"]],
    )
    checks: Items[CheckConfig] = Field(
        default=(),
        description="Checks that must pass before the restored service counts as usable. Without "
        "a check that applies to the drilled set, the recovery time is not measured.",
        examples=[[{"kind": "sqlite", "path": "crm/crm.db"}]],
    )
    modes: Mapping[Name, ServiceModeConfig] = Field(
        default={}, description="Modes of the service in a disruption, by name."
    )

    @model_validator(mode="after")
    def check(self) -> Self:
        if self.mtpd_minutes is not None and self.mtpd_minutes < self.rto_minutes:
            raise ValueError("mtpd_minutes is shorter than rto_minutes; promise a sooner recovery")
        return self
