"""Evidence that is looked for on disk: what nobody may read is not what nobody has."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from standfast.errors import ConfigurationError
from standfast.operations.frozen import frozen, verify_frozen
from tests.operations.places import furnish, place_at


def test_evidence_that_this_user_may_not_read_is_not_called_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = "inc-2026-0001"
    scandir = os.scandir
    with place_at(furnish(tmp_path)) as place:
        root = place.config.custody.folder / incident
        (root / "logs" / "token").mkdir(parents=True)

        def refuse(path: Any = ".") -> Any:
            if str(path) == str(root):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scandir(path)

        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", refuse)
            for look in (lambda: frozen(place.config), lambda: verify_frozen(place, incident)):
                with pytest.raises(ConfigurationError, match="may not be read by this user"):
                    look()
        assert [one.folder for one in frozen(place.config)] == [root / "logs" / "token"]
