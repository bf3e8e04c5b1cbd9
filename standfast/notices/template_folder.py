"""Templates on disk: one folder a notice, one folder in it a language.

Owns the reading. Leaves every check of what was read to `render`.

Rules
- A template is loaded when it is first asked for: people wait for one notice, not for all of them,
  and one that is broken keeps no other from being sent.
- A folder of our own takes the place of a shipped one of the same name, whole.
- Nothing outside the folder is read: links are passed over, and so are hidden files and what
  editors leave behind.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from standfast.errors import ConfigurationError, Problem, TemplateInvalid
from standfast.notices.template_grammar import LARGEST_SOURCE
from standfast.notices.template_renderer import Template, load

SHIPPED = Path(__file__).parents[2] / "notify_templates"  # beside the package, in a wheel too


class Templates(Mapping[str, Template]):
    """Templates by name. What loads one raises TemplateInvalid, which names what is wrong."""

    def __init__(self, *roots: Path) -> None:
        self._folders = {folder.name: folder for root in roots for folder in _folders_in(root)}
        self._loaded: dict[str, Template] = {}

    def __getitem__(self, name: str) -> Template:
        if name not in self._loaded:
            self._loaded[name] = _load(name, tuple(_texts(self._folders[name]).items()))
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def read_templates(own: Path | None = None) -> Templates:
    """Give the shipped templates, and those of `own`, which take precedence."""
    return Templates(SHIPPED, *([own] if own else []))


def template_names(own: Path | None = None) -> frozenset[str]:
    """Name the templates that there are."""
    return frozenset(read_templates(own))


@lru_cache(maxsize=64)  # every runner of an incident reads the same few again
def _load(name: str, texts: tuple[tuple[str, str], ...]) -> Template:
    return load(dict(texts), name)


def _folders_in(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ConfigurationError(f"there is no template folder {root}; create it or name another")
    return _folders(root)


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
