"""Keep every recovery point (backup) of the repository from expiring.

The action runs on the keeper, the machine with the key that lets recovery points expire. An undo
applies the retention rules to the recovery points again.
"""

from collections.abc import Iterator

from standfast.playbook.actions.action import Action, Carrier, Planner, Use
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject, Mode

PROTECT, RELEASE = "backup.protect", "backup.release"
KEEPER = "keeper"  # the function of Standfast that the action calls


def _plan(_arguments: JsonObject, planner: Planner) -> Expansion:
    refusal = ""
    if planner.mode is not Mode.EXERCISE and not planner.is_keeper_machine:
        refusal = (
            "the keeper is another machine, as it should be. Run there: `standfast backup keep "
            f"hold {planner.incident}`."
        )
    draft = planner.call(PROTECT, KEEPER, f"{KEEPER}:repository", {}, refusal=refusal)
    return Expansion(drafts=(draft,))


def _notes(_adapter: str, _planner: Planner) -> Iterator[str]:
    yield (
        "after a compromise of the backup host, run `standfast backup owner new-epoch WRITER` "
        "on the machine with the owner's key: it ends the trust in that host"
    )


ACTION = Action(
    verb=PROTECT,
    title="keep every recovery point from expiring, and extend its locks",
    targets="repositories",
    carrier=Carrier.PROCEDURES,
    method="run",
    plan=_plan,
    done="held",
    undo=RELEASE,
    notes=_notes,
    names_people=False,
)
UNDO = Action(
    verb=RELEASE,
    title="let recovery points expire by their rules again",
    targets="repositories",
    carrier=Carrier.PROCEDURES,
    method="undo",
    done="released",
    use=Use.UNDO,
    names_people=False,
)
