"""Page and drawing of the services."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta

from standfast.reports.continuity_page import ModeLine, ServiceLine, services_as_svg
from standfast.reports.report_records import Measure

SVG = "{http://www.w3.org/2000/svg}"
HOUR = timedelta(hours=1)
DIRECTORY = ServiceLine(
    name="directory",
    owner="Head of IT",
    depends_on=(),
    rto=HOUR,
    rpo=HOUR,
    mtpd=None,
    minimum_capacity_percent=None,
    modes=(),
    prediction=None,
    measure=None,
)
MET = Measure(service="crm", rto=HOUR, rto_promised=HOUR, rpo=HOUR, rpo_promised=HOUR)
CRM = replace(DIRECTORY, name="crm <&>", depends_on=("directory",), measure=MET)
PHONES = replace(
    DIRECTORY,
    name="phones",
    depends_on=("directory", "crm <&>"),
    measure=replace(MET, rto=2 * HOUR),
)


def test_drawing_has_each_service_and_dependency() -> None:
    root = ET.fromstring(services_as_svg([DIRECTORY, CRM, PHONES]))
    titles = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "title"]
    assert titles == ["directory", "crm <&>", "phones"]
    assert len(root.findall(f"{SVG}path[@class='arrow']")) == 3


def test_drawing_shows_missed_objectives_without_colour() -> None:
    root = ET.fromstring(services_as_svg([DIRECTORY, CRM, PHONES]))
    boxes = [group for group in root.iter(f"{SVG}g") if group.get("transform") is None]
    assert [group[0].tag for group in boxes] == [f"{SVG}rect", f"{SVG}rect", f"{SVG}polygon"]
    assert boxes[0][0].get("rx") != boxes[1][0].get("rx"), "not measured is not met"


def test_minimum_capacity_needs_a_mode() -> None:
    paper = ModeLine(
        name="paper", kind="paper", capacity_percent=30, is_prepared=False, instructions="Form 7."
    )
    assert DIRECTORY.has_minimum_capacity
    assert not replace(DIRECTORY, minimum_capacity_percent=10).has_minimum_capacity
    assert replace(DIRECTORY, minimum_capacity_percent=30, modes=(paper,)).has_minimum_capacity
    assert not replace(DIRECTORY, minimum_capacity_percent=31, modes=(paper,)).has_minimum_capacity
