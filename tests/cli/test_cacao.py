"""CACAO files at the command line: detected, imported and exported."""

import json

from tests.cli.desk import Desk
from tests.playbook.cacao.build import END, action, named, text

BLOCK = named("action", 1)


def test_exported_playbook_is_imported_unchanged(desk: Desk) -> None:
    out, back = desk.folder / "out.json", desk.folder / "back.yaml"
    assert desk.run("playbook", "export", "ransomware", "--to", str(out)).status == 0
    assert json.loads(out.read_text())["spec_version"] == "cacao-2.0"
    assert desk.run("playbook", "check", str(out)).status == 0
    assert desk.run("playbook", "import", str(out), "--to", str(back)).status == 0
    shown = [desk.run("playbook", "show", name).out.splitlines() for name in (back, "ransomware")]
    assert shown[0][:-1] == shown[1][:-1]  # without the last line, the digest of the file
    again = desk.run("playbook", "import", str(out), "--to", str(back))
    assert again.status == 2
    assert "exists already" in again.err


def test_foreign_commands_are_named_and_checked_by_path(desk: Desk) -> None:
    foreign = desk.folder / "foreign.json"
    step = action(END, {"type": "bash", "command": "iptables -A x"}, name="Block it")
    foreign.write_text(text({BLOCK: step}, BLOCK))
    answer = desk.run("playbook", "import", str(foreign), "--to", str(desk.folder / "mine.yaml"))
    assert "[commands.block_it], which the configuration must allow" in answer.out
    assert "iptables -A x" in answer.out
    foreign.write_text(text({BLOCK: action(named("action", 7), step)}, BLOCK))
    broken = desk.run("playbook", "check", str(foreign))
    assert broken.status == 2
    assert f"$.workflow['{BLOCK}'].on_completion: leads to no step" in broken.err
