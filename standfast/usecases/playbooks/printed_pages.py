"""Printable pages and drawings of playbooks.

A playbook is the file that describes the response to one kind of incident.
"""

from pathlib import Path

from standfast.playbook.model import Playbook
from standfast.playbook.rendering.svg_graph import as_svg
from standfast.reports.html_page import write_page
from standfast.reports.playbook_page import playbook_page


def write_pages(playbooks: list[Playbook], folder: Path) -> list[Path]:
    """Write a page for each playbook to the folder; replace earlier pages."""
    return [
        write_page(playbook_page(playbook), folder / f"{playbook.name}.html")
        for playbook in playbooks
    ]


def write_drawing(playbook: Playbook, out: Path) -> Path:
    """Write the graph of the playbook as SVG."""
    return write_page(as_svg(playbook), out)
