"""The installation of the demo before its tour, created once.

The pages use it as the installation of `make demo`. Recordings are few and short, and the first
incident is missing, because both take time and no page shows them.
"""

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import server_processes
from demo.call_centre import Scale
from demo.setup_chapter import create_centre, create_installation, enrol_people
from demo.tour_output import TourOutput

_SCALE = Scale(calls=8, call_seconds=46)


@contextmanager
def demo_template(parent: Path | None) -> Iterator[Path]:
    """Create the installation; its servers run until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="sf-test-", dir=parent)) / "demo-place"
    try:
        config_file = create_installation(folder)
        create_centre(folder, _SCALE, TourOutput(out=io.StringIO()))
        enrol_people(config_file)
        yield folder
    finally:
        if (folder / server_processes.SERVERS_FILE).exists():
            server_processes.stop(folder)
        shutil.rmtree(folder.parent)


def copy_demo(template: Path, folder: Path) -> Path:
    """Copy the installation; its servers are those of the template."""
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("mailbox", "server-logs"))
    (folder / server_processes.SERVERS_FILE).write_text(json.dumps([]))
    config_file = folder / "standfast.toml"
    config_file.write_text(config_file.read_text().replace(str(template), str(folder)))
    return config_file
