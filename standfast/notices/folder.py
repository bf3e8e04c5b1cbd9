"""Templates on disk: one folder a notice, one folder in it a language.

Owns the reading. Leaves every check of what was read to `render`.

Rules
- A folder of our own takes the place of a shipped one of the same name, whole.
- Nothing outside the folder is read: links are passed over, and so are hidden files and what
  editors leave behind.
"""

from collections.abc import Iterable
from pathlib import Path

from standfast.errors import ConfigurationError, Problem, TemplateInvalid
from standfast.notices.grammar import LARGEST_SOURCE
from standfast.notices.render import Template, load

SHIPPED = Path(__file__).parents[2] / "notify_templates"  # beside the package, in a wheel too


def read_template_folder(root: Path) -> dict[str, Template]:
    """Load every template under `root`, by name; TemplateInvalid names what is wrong."""
    if not root.is_dir():
        raise ConfigurationError(f"there is no template folder {root}; create it or name another")
    return {folder.name: load(_texts(folder), folder.name) for folder in _folders(root)}


def read_templates(own: Path | None = None) -> dict[str, Template]:
    """Load the shipped templates, and those of `own`, which take precedence."""
    shipped = read_template_folder(SHIPPED)
    return shipped | (read_template_folder(own) if own else {})


def _texts(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): _text(file, file.relative_to(folder.parent).as_posix())
        for place in (folder, *_folders(folder))
        for file in _visible(place)
        if file.is_file()
    }


def _text(file: Path, shown: str) -> str:
    try:
        with file.open(encoding="utf-8-sig") as stream:
            return stream.read(LARGEST_SOURCE + 1)  # one more shows `render` that it is too long
    except UnicodeDecodeError:
        problem = Problem(file=shown, line=0, message="is not UTF-8", hint="save it as UTF-8")
        raise TemplateInvalid(str(problem)) from None
    except OSError as error:
        problem = Problem(file=shown, line=0, message=f"cannot be read: {error.strerror}")
        raise TemplateInvalid(str(problem)) from None


def _folders(place: Path) -> list[Path]:
    return [one for one in _visible(place) if one.is_dir()]


def _visible(place: Path) -> Iterable[Path]:
    for one in sorted(place.iterdir()):
        if (
            not one.name.startswith((".", "__"))
            and not one.name.endswith("~")
            and not one.is_symlink()
        ):
            yield one
