"""Overview of the services: dependencies, objectives, predictions, drills.

A service is something that the organisation offers, such as the telephone line for orders. A drill
is a measured test restore; a prediction is computed from earlier drills. The services are in the
order of recovery: each service follows the services on which it depends.
"""

from datetime import timedelta
from pathlib import Path

from standfast.continuity.service_order import recovery_order
from standfast.records import Json, JsonObject
from standfast.reports.continuity_page import (
    ContinuityReport,
    ModeLine,
    ServiceLine,
    continuity_page,
)
from standfast.reports.html_page import write_page
from standfast.reports.report_records import Measure
from standfast.usecases.core.installation import Installation
from standfast.usecases.reports.backup_and_drill_results import drill_lines, prediction_lines
from standfast.usecases.reports.result_pages import heading


def service_overview(installation: Installation) -> tuple[ServiceLine, ...]:
    """Return the services in the order of recovery."""
    services = installation.config.services
    predictions = {line.service: line for line in prediction_lines(installation)}
    measures: dict[str, Measure] = {}
    for drill in drill_lines(installation):  # newest first
        for measure in drill.measures:
            measures.setdefault(measure.service, measure)
    return tuple(
        ServiceLine(
            name=name,
            owner=services[name].owner,
            depends_on=services[name].depends_on,
            rto=timedelta(minutes=services[name].rto_minutes),
            rpo=timedelta(minutes=services[name].rpo_minutes),
            mtpd=_optional_minutes(services[name].mtpd_minutes),
            minimum_capacity_percent=services[name].minimum_capacity_percent,
            modes=tuple(
                ModeLine(
                    name=mode_name,
                    kind=mode.kind,
                    capacity_percent=mode.capacity_percent,
                    is_prepared=mode.procedure is not None,
                    instructions=mode.instructions or "",
                )
                for mode_name, mode in services[name].modes.items()
            ),
            prediction=predictions.get(name),
            measure=measures.get(name),
        )
        for wave in recovery_order(services)
        for name in wave
    )


def write_continuity_page(
    installation: Installation, services: tuple[ServiceLine, ...], out: Path
) -> Path:
    """Write the page with the services to `out`; replace an earlier page."""
    report = ContinuityReport(heading=heading(installation), services=services)
    return write_page(continuity_page(report), out)


def service_document(service: ServiceLine) -> JsonObject:
    """Return the JSON form of one service."""
    prediction, measure = service.prediction, service.measure
    modes: list[Json] = [
        {
            "name": mode.name,
            "kind": mode.kind,
            "capacity_percent": mode.capacity_percent,
            "is_prepared": mode.is_prepared,
            "instructions": mode.instructions,
        }
        for mode in service.modes
    ]
    return {
        "service": service.name,
        "owner": service.owner,
        "depends_on": list(service.depends_on),
        "rto_ms": _ms(service.rto),
        "rpo_ms": _ms(service.rpo),
        "mtpd_ms": _ms(service.mtpd),
        "minimum_capacity_percent": service.minimum_capacity_percent,
        "has_minimum_capacity": service.has_minimum_capacity,
        "modes": modes,
        "predicted_rto_ms": _ms(prediction.expected) if prediction else None,
        "predicted_verdict": prediction.verdict if prediction else None,
        "measured_rto_ms": _ms(measure.rto) if measure else None,
        "measured_rpo_ms": _ms(measure.rpo) if measure else None,
        "measured_verdict": measure.verdict if measure else None,
    }


def _optional_minutes(count: int | None) -> timedelta | None:
    return None if count is None else timedelta(minutes=count)


def _ms(measured: timedelta | None) -> int | None:
    return None if measured is None else measured // timedelta(milliseconds=1)
