"""Template folders on disk: the installation's own, then shipped ones.

A template is a folder with the texts of a notice (a message to the people that an incident
concerns) in each language. This module reads files; `template_renderer` checks their content.

Rules
- A template is loaded when it is first needed. Therefore an incident loads only its own templates,
  and an invalid template does not prevent other notices.
- A template folder of the installation replaces the whole shipped folder of the same name.
- Nothing outside the folder is read. Links, hidden files and backup files of editors are skipped.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from standfast.errors import ConfigurationError, Problem, TemplateInvalid
from standfast.notices.template_grammar import LARGEST_SOURCE
from standfast.notices.template_renderer import Template, load

SHIPPED = Path(__file__).parents[2] / "notify_templates"  # next to the package, also in a wheel


class Templates(Mapping[str, Template]):
    """Templates by name; loading an invalid one raises TemplateInvalid."""

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
    """Return the shipped templates, and those of `own`, which take precedence."""
    return Templates(SHIPPED, *([own] if own else []))


def template_names(own: Path | None = None) -> frozenset[str]:
    """Return the names of all templates."""
    return frozenset(read_templates(own))


@lru_cache(maxsize=64)  # all processes of an incident read the same few
def _load(name: str, texts: tuple[tuple[str, str], ...]) -> Template:
    return load(dict(texts), name)


def _folders_in(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ConfigurationError(f"template folder {root}: not found. Create it, or name another.")
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
            return stream.read(
                LARGEST_SOURCE + 1
            )  # one more byte lets the renderer detect the excess
    except UnicodeDecodeError:
        problem = Problem(file=shown, line=0, message="is not UTF-8", hint="save it as UTF-8")
        raise TemplateInvalid(str(problem)) from None
    except OSError as error:
        problem = Problem(file=shown, line=0, message=f"cannot be read: {error.strerror}")
        raise TemplateInvalid(str(problem)) from None


def _folders(place: Path) -> list[Path]:
    return [path for path in _visible(place) if path.is_dir()]


def _visible(place: Path) -> Iterable[Path]:
    for path in sorted(place.iterdir()):
        if (
            not path.name.startswith((".", "__"))
            and not path.name.endswith("~")
            and not path.is_symlink()
        ):
            yield path
