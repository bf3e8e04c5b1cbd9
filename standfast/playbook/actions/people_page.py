"""Page the approvers of a step.

Only the program plans this action: a playbook cannot name it.
"""

from standfast.playbook.actions.action import Action, Carrier, Use

PAGE = "people.page"
ACTION = Action(
    verb=PAGE,
    title="page the approvers",
    targets="people",
    carrier=Carrier.SENDERS,
    method="send",
    use=Use.INTERNAL,
    is_irreversible=True,
    settings=("organisation",),
)
