"""A trial action: one new module is enough to run it in a playbook.

The module is added to the package of another process before it is loaded, as a file would be.
"""

import subprocess
import sys
from pathlib import Path

from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Use

_TRIAL = '''
"""Block the badges of people, and unblock them again."""

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Use


def _plan(arguments, planner):
    given = {"targets": arguments["badges"]}
    return planner.calls("badges.block", "commands.block-badge", given)


ACTION = Action(
    verb="badges.block",
    title="block the badges",
    targets="badges",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "badges": ArgumentSpec(type=ArgumentType.NAMES, required=True, description="the badges")
    },
    plan=_plan,
    done="blocked",
    undo="badges.unblock",
    keeps_prior_state=True,
    approval_reason=lambda arguments, staff: "blocks badges",
)
UNDO = Action(
    verb="badges.unblock",
    title="unblock the badges",
    targets="badges",
    carrier=Carrier.PROCEDURES,
    method="undo",
    done="unblocked",
    use=Use.UNDO,
)
'''
_PLAYBOOK = """
playbook: badges
version: 1
title: Badges
use_when: In a test.
steps:
  block: {title: Block, do: badges.block, with: {badges: [north-1, north-2]}, undo: badges.unblock}
"""
_RUN = """
import importlib.util
import sys
from pathlib import Path

folder = Path(sys.argv[1])
spec = importlib.util.find_spec("standfast.playbook.actions")
package = importlib.util.module_from_spec(spec)
package.__path__.append(str(folder / "actions"))
sys.modules[spec.name] = package
spec.loader.exec_module(package)

from standfast.playbook.json_schema import as_text
from standfast.records import Mode
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.incidents.result_summary import tallies
from tests.usecases.installations import PASSPHRASES, enrol_people, furnish, installation_at

assert "badges.block" in as_text()
config_file = furnish(folder)
with config_file.open("a") as file:
    file.write('[playbooks]\\nfolder = "."\\n')
with installation_at(config_file) as installation:
    enrol_people(installation)
    case = lifecycle.open_incident(
        installation, "badges", {}, mode=Mode.EXERCISE, opened_by="dana"
    ).incident
    lifecycle.advance(installation, case, "direct")
    step_decisions.decide(installation, case, "block", "lee", PASSPHRASES["lee"])
    lifecycle.advance(installation, case, "direct")
    effect_undo.undo(installation, case)
    lifecycle.advance(installation, case, "direct")
    print([one.sentence for one in tallies(installation, case)])
"""


def test_one_module_adds_an_action(tmp_path: Path) -> None:
    (tmp_path / "actions").mkdir()
    (tmp_path / "actions/badges_block.py").write_text(_TRIAL)
    (tmp_path / "badges.yaml").write_text(_PLAYBOOK)
    found = subprocess.run(
        [sys.executable, "-c", _RUN, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "'2 blocked'" in found.stdout
    assert "'2 unblocked'" in found.stdout


def test_undos_are_registered_and_no_steps() -> None:
    undos = {action.undo for action in ACTIONS.values() if action.undo}
    assert undos == {verb for verb, action in ACTIONS.items() if action.use is Use.UNDO}


def test_every_step_has_a_planner() -> None:
    for action in ACTIONS.values():
        assert (action.plan is not None) == (action.use is Use.STEP), action.verb
