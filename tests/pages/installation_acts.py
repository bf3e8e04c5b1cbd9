"""Installations in which the commands of pages are typed."""

import re
import shutil
import sys
from pathlib import Path

from tests.pages.demo_place import copy_demo
from tests.pages.typist import Typist
from tests.servers import need
from tests.usecases.installations import PASSPHRASES
from tests.usecases.recovery.recovery_installation import prepared

_KEEPER = (
    "standfast backup owner set-keeper --keeper-file my-place/keys/keeper.json "
    "--owner-key my-place/offline/owner.json"
)


def use(typist: Typist, config_file: Path) -> Path:
    """Use an installation for every later command; return its folder."""
    typist.desk.use(config_file)
    return config_file.parent


def configure(typist: Typist, text: str) -> None:
    """Add tables to the configuration, below the same heading if it exists."""
    file = typist.config_file
    settings = file.read_text()
    for table in re.split(r"^(?=\[)", text, flags=re.MULTILINE):
        heading, _, lines = table.partition("\n")
        if heading.startswith("[") and f"\n{heading}\n" in settings:
            settings = settings.replace(f"\n{heading}\n", f"\n{heading}\n{lines}", 1)
        else:
            settings += f"\n{table}"
    file.write_text(settings)


def demo_place(typist: Typist) -> None:
    """Use the demo's installation."""
    use(typist, copy_demo(typist.demo, typist.folder / "demo-place"))


def demo_with_an_incident(typist: Typist) -> None:
    """Replace `make demo`, because its tour takes a minute."""
    file = copy_demo(typist.demo, typist.folder / "demo-place")
    opened = "incident open lock --input accounts=agents:oscar.ortiz --exercise"
    typist.done(f"standfast -c {file} {opened}")


def files_to_back_up(typist: Typist) -> None:
    """Create the folder `my-files`."""
    (typist.folder / "my-files").mkdir()
    (typist.folder / "my-files/notes.txt").write_text("worth keeping\n")


def environment_of_break_glass(typist: Typist) -> None:
    """Replace the download of the packages, which are installed here."""
    program = typist.folder / "glass/bin/python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)


def backed_up_place(typist: Typist) -> None:
    """Create the installation `my-place` with its first backup."""
    files_to_back_up(typist)
    typist.done("standfast init my-place --source my-files --yes")
    use(typist, typist.folder / "my-place/standfast.toml")
    typist.done("standfast backup run")


def place_with_an_identity(typist: Typist) -> None:
    """Create `my-place`, with the identity in the current folder."""
    backed_up_place(typist)
    shutil.copy("my-place/offline/identity.txt", "identity.txt")


def grant_keeper(typist: Typist) -> None:
    """Let the owner set a keeper, once."""
    if not (typist.folder / "my-place/keys/keeper.json").exists():
        typist.done(_KEEPER)


def keeper_machine(typist: Typist) -> None:
    """Create `my-place` with a keeper."""
    backed_up_place(typist)
    grant_keeper(typist)


def back_in_the_tutorial(typist: Typist) -> None:
    """Return to the installation of the tutorial's first part."""
    need("jq", "the page filters JSON with it")
    use(typist, typist.folder / "my-place/standfast.toml")
    shutil.copy("my-place/offline/identity.txt", "identity.txt")
    for name in ("restored", "one-file"):
        shutil.rmtree(name)


def drilled_place(typist: Typist) -> None:
    """Use the demo's installation, with a backup."""
    demo_place(typist)
    typist.done("standfast backup run")


def place_to_recover(typist: Typist) -> None:
    """Use an installation with the service `crm` and targets."""
    use(typist, prepared(typist.folder))
    (typist.folder / "paper.csv").write_text(
        "owner,item\nlee,order of Ana\nlee,order of Ben\nkim,call back Cem\n"
    )


def recover_data(typist: Typist) -> None:
    """Stop the writers, and approve the recovery as another person."""
    typist.done('standfast recover answer stop_writers "All stopped." --as dana', PASSPHRASES)
    digest = typist.desk.asked()
    typist.done(f"standfast recover approve --digest {digest} --as lee", PASSPHRASES)


def folder_of_keys(typist: Typist) -> None:
    """Create the folder of an installation's keys."""
    need("openssl", "the page makes a token with it")
    (typist.folder / "keys").mkdir()
