"""Files and folders as evidence: walk, copy and hash in one pass.

Each copy is below `files/`, under its whole path. `evidence.tree_copy` reads the untrusted tree.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.evidence_sources.sealed_source import (
    Collected,
    SealedSource,
    SourceContext,
)
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import Unavailable
from standfast.evidence.item_file import ItemFolder
from standfast.evidence.tree_copy import Walk, is_left_out


class FilesEvidence(SealedSource):
    """Evidence source for files and folders on this machine."""

    def __init__(self, name: str, settings: FilesEvidenceConfig, context: SourceContext) -> None:
        super().__init__(name, context)
        # If one path contains another, copy the outer one only: both have the same destination.
        self._paths = _outermost([os.path.normpath(path) for path in settings.paths])
        self._exclude = settings.exclude

    def _scope(self) -> str:
        missing = [path for path in self._paths if not Path(path).exists()]
        if len(missing) == len(self._paths):
            raise Unavailable(f"evidence source {self.name!r}: none of its paths exists")
        shown = ", ".join(path for path in self._paths if path not in missing)
        absent = f"; missing: {', '.join(missing)}" if missing else ""
        return f"copy, hash and seal {shown}{absent}"

    def _collect(self, files: ItemFolder, custody: Custody) -> Collected:
        own = custody.folder.stat()
        walk = Walk(
            destination=files,
            is_excluded=lambda path: is_left_out(path, self._exclude),
            own_folder=(own.st_dev, own.st_ino),
        )
        items = tuple(item for path in self._paths for item in walk.freeze(path))
        return Collected(
            items=items, paths=self._paths, exclude=self._exclude, excluded=walk.excluded
        )


def _outermost(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        path
        for path in dict.fromkeys(paths)
        if not any(path != other and Path(path).is_relative_to(other) for other in paths)
    )
