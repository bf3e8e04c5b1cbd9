"""Files that the readers of the two guides write, and their mistakes."""

from io import StringIO

from ruamel.yaml import YAML

from tests.pages.blocks import Block
from tests.pages.installation_acts import configure
from tests.pages.typist import Typist

_PLAYBOOK = "demo-place/playbooks/shared-mailbox.yaml"
_NOTICE = "demo-place/notices/staff-mailbox"


def take_playbook(typist: Typist, block: Block) -> None:
    """Write the playbook of the guide; its reference has fragments."""
    if block.text.startswith("playbook: shared-mailbox"):
        _write(typist, _PLAYBOOK, block.text)


def break_playbook(typist: Typist) -> None:
    """Mistype a step, and remove the approval."""
    text = (typist.folder / _PLAYBOOK).read_text()
    text = text.replace("needs: [lock]", "needs: [lokc]")
    text = text.replace("    approval: {count: 1, roles: [duty-manager]}\n", "")
    _write(typist, "wrong.yaml", text)


def take_notice_settings(typist: Typist, block: Block) -> None:
    """Name the folder of notices, or write the notice's values."""
    if block.text.startswith("["):
        configure(typist, block.text)
    else:
        _write(typist, f"{_NOTICE}/context.toml", block.text)


def take_notice_text(typist: Typist, block: Block) -> None:
    """Write the subject or the body; check the list of files."""
    if block.begins.startswith("notices/"):
        assert all(name.startswith("notices/staff-mailbox/") for name in block.text.split())
    else:
        name = "body.txt" if block.text.count("\n") > 1 else "subject.txt"
        _write(typist, f"{_NOTICE}/en/{name}", block.text)
        _write(typist, f"correct-{name}", block.text)


def mistype_variable(typist: Typist) -> None:
    """Mistype the name of a variable."""
    body = typist.folder / f"{_NOTICE}/en/body.txt"
    body.write_text(body.read_text().replace("{{ mailbox }}", "{{ mailbx }}"))


def add_banned_phrase(typist: Typist) -> None:
    """Ask for a click."""
    body = typist.folder / f"{_NOTICE}/en/body.txt"
    body.write_text(body.read_text().replace("call us today", "click here"))


def correct_notice(typist: Typist) -> None:
    """Undo the last mistake."""
    correct = typist.folder / "correct-body.txt"
    if correct.exists():
        _write(typist, f"{_NOTICE}/en/body.txt", correct.read_text())


def extend_playbook(typist: Typist, block: Block) -> None:
    """Add inputs and a step to the playbook."""
    yaml, written = YAML(), StringIO()
    playbook = yaml.load((typist.folder / _PLAYBOOK).read_text())
    for name, entries in yaml.load(block.text).items():
        playbook[name].update(entries)
    yaml.dump(playbook, written)
    _write(typist, _PLAYBOOK, written.getvalue())


def _write(typist: Typist, name: str, text: str) -> None:
    file = typist.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
