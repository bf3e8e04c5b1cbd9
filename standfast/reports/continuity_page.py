"""Page of services: objectives, last drills, drawing of dependencies.

A drill is a test restore.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from textwrap import wrap

from markupsafe import Markup

from standfast.playbook.rendering.layered_graph import EDGE, Box, Shape, draw, legend_entry
from standfast.reports.html_page import Clock, render
from standfast.reports.report_records import Heading, Measure, PredictionLine
from standfast.reports.report_sentences import duration

_LEGEND_WIDTH = 210
_LONGEST_LINE = 34  # characters of a line in a box


@dataclass(frozen=True, kw_only=True)
class ModeLine:
    """One degraded mode of a service: a way to run it with less capacity."""

    name: str
    kind: str
    capacity_percent: int | None
    is_prepared: bool  # True if a configured command or request switches to the mode
    instructions: str


@dataclass(frozen=True, kw_only=True)
class ServiceLine:
    """One service, with the measured times of the newest drill."""

    name: str
    owner: str
    depends_on: tuple[str, ...]
    rto: timedelta
    rpo: timedelta
    mtpd: timedelta | None
    minimum_capacity_percent: int | None
    modes: tuple[ModeLine, ...]
    prediction: PredictionLine | None  # None without a backup set
    measure: Measure | None

    @property
    def is_met(self) -> bool | None:
        """Return whether the measured times met the objectives.

        Return None if nothing was measured, or if no check of the service was executed.
        """
        if self.measure is None or not self.measure.is_checked:
            return None
        return self.measure.verdict == "met"

    @property
    def has_minimum_capacity(self) -> bool:
        """Return whether a mode has the minimum capacity, or none is required."""
        wanted = self.minimum_capacity_percent
        return wanted is None or any((mode.capacity_percent or 0) >= wanted for mode in self.modes)

    @property
    def predicted(self) -> str:
        """The predicted recovery time, in words."""
        found = self.prediction
        if found is None:
            return "no backup set"
        if found.expected is None:
            return "unknown"
        return f"{duration(found.expected)}, {found.verdict}"

    @property
    def measured(self) -> str:
        """The result of the last drill, in words."""
        found = self.measure
        if found is None:
            return "never"
        rto = duration(found.rto) if found.rto is not None and found.is_checked else "not measured"
        rpo = duration(found.rpo) if found.rpo is not None else "not measured"
        return f"RTO {rto}, RPO {rpo}"


@dataclass(frozen=True, kw_only=True)
class ContinuityReport:
    """The content of the page, in the order of recovery."""

    heading: Heading
    services: tuple[ServiceLine, ...]


def continuity_page(report: ContinuityReport) -> str:
    """Return the page as HTML."""
    return render(
        "continuity.html",
        Clock(report.heading.time_zone),
        report=report,
        drawing=Markup(services_as_svg(report.services)),  # noqa: S704 - `draw` escapes all text
    )


def services_as_svg(services: Sequence[ServiceLine]) -> str:
    """Draw the services, each below those on which it depends.

    Return "" if there are no services.
    """
    if not services:
        return ""
    labels = {True: "objectives met", False: "objectives missed", None: "not measured"}
    legend = [
        legend_entry(*_style(is_met), label, EDGE + _LEGEND_WIDTH * place)
        for place, (is_met, label) in enumerate(labels.items())
    ]
    return draw(
        [_box(service) for service in services],
        {service.name: service.depends_on for service in services},
        title="Services in the order of recovery",
        description="an arrow points to the service that depends on the other one",
        legend=legend,
    )


def _box(service: ServiceLine) -> Box:
    style, shape = _style(service.is_met)
    promised = f"RTO {duration(service.rto)}, RPO {duration(service.rpo)}"
    found = (
        promised,
        f"predicted: {service.predicted}",
        f"measured: {service.measured}",
    )
    return Box(
        name=service.name,
        style=style,
        shape=shape,
        lines=[("title", service.name)]
        + [("kind", part) for line in found for part in wrap(line, _LONGEST_LINE)],
    )


def _style(is_met: bool | None) -> tuple[str, Shape]:
    """Return CSS class and shape; the shape shows the state without colour."""
    if is_met is None:
        return "wait", "pill"
    return ("do", "square") if is_met else ("decide", "hexagon")
