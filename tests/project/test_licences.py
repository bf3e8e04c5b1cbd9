"""Licences of all packages that a host installs, from their metadata."""

import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata

import pytest

from tests.project.test_requirements import ASKED, pinned

PERMITTED = {
    "0BSD",
    "Apache-2.0", "Apache 2.0", "Apache License 2.0", "Apache Software License",
    "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause",
    "CC0-1.0", "CNRI-Python", "ISC", "ISC License (ISCL)",
    # Weak copyleft: it binds changes of the package itself, and we change none.
    "LGPL-3.0-only", "GNU Lesser General Public License v3 (LGPLv3)",
    "MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "Mozilla Public License 1.1 (MPL 1.1)",
    "MIT", "MIT License", "MIT-0",
    "PSF-2.0", "Python Software Foundation License",
    "The Unlicense (Unlicense)",
}  # fmt: skip

# Read by a person, because the metadata names no licence, or several without saying how.
REVIEWED = {
    "pyrage": "MIT",  # the LICENSE file of its repository
    "text-unidecode": "Artistic-1.0-Perl or GPL-2.0-or-later, at our choice",
}


def alternatives(found: PackageMetadata) -> list[str]:
    """Return the licences that a package offers, as its metadata names them."""
    for expression in found.get_all("License-Expression") or []:
        return re.split(r" OR (?![^(]*\))", expression)
    classifiers = found.get_all("Classifier") or []
    named = [name.rpartition(" :: ")[2] for name in classifiers if name.startswith("License :: ")]
    return [name for name in named if name != "OSI Approved"] or found.get_all("License") or []


def is_permitted(licence: str) -> bool:
    """Return whether each part of an SPDX expression or name is permitted."""
    if licence in PERMITTED:
        return True
    parts = re.split(r" (?:AND|OR) |[()]", licence)
    return bool(licence) and all(part in PERMITTED for part in parts if part.strip())


@pytest.mark.parametrize("lock", sorted(set(ASKED) - {"dev"}))
def test_each_locked_package_has_a_permitted_licence(lock: str) -> None:
    refused = {}
    for name in pinned(lock):
        try:
            offered = alternatives(metadata(name))
        except PackageNotFoundError:
            continue  # for another Python version
        if name not in REVIEWED and not any(is_permitted(one) for one in offered):
            refused[name] = offered
    assert refused == {}


@pytest.mark.parametrize("licence", ["GPL-3.0-or-later", "MIT AND AGPL-3.0-only", "", "Secret"])
def test_other_licence_is_refused(licence: str) -> None:
    assert not is_permitted(licence)
