"""Documentation site, built by mkdocs from the pages of the repository.

    python -m tests.project.documentation_site dist/site

The build is strict: a link to a page, heading or file that is missing is an error, and so is a page
that the navigation of mkdocs.yml omits. The reference of the commands is generated.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.project import command_reference
from tests.project.test_tree import ROOT, tracked

_FOLDERS = ("docs", "deploy")  # whole, with the files that their pages link to
_FILES = ("LICENSE", "playbooks/schema.json")


def build(site: Path) -> None:
    """Build the site; CalledProcessError with the warnings if there is one."""
    with TemporaryDirectory() as folder:
        pages = Path(folder) / "pages"
        for path in tracked():
            name = path.relative_to(ROOT)
            if _is_page(name):
                (pages / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, pages / name)
        (pages / "docs/commands.md").write_text(command_reference.page(), encoding="utf-8")
        config = Path(folder) / "mkdocs.yml"
        text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
        config.write_text(f"{text}docs_dir: {pages}\n", encoding="utf-8")
        subprocess.run(
            [
                sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet",
                "--config-file", config, "--site-dir", site.absolute(),
            ],
            check=True,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip


def _is_page(name: Path) -> bool:
    folder = name.parts[0]
    if folder in _FOLDERS or name.as_posix() in _FILES:
        return True
    return name.suffix == ".md" and folder != "tests" and not folder.startswith(".")


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
