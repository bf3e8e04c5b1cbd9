"""Arguments that several actions have."""

from standfast.playbook.actions.action import ArgumentSpec, ArgumentType

AFFECTED = "affected"  # the audience of the people that the incident lists as affected
ACCOUNTS = ArgumentSpec(
    type=ArgumentType.ACCOUNTS, required=True, description="the accounts, by name"
)
# The arguments of a command or a request, in addition to its name.
CALL = {
    "targets": ArgumentSpec(
        type=ArgumentType.NAMES,
        description="the targets, which are processed one by one; each is the parameter `target`",
    ),
    "parameters": ArgumentSpec(
        type=ArgumentType.MAPPING, default={}, description="the other parameters, by name"
    ),
}
INDICATORS = ArgumentSpec(
    type=ArgumentType.NAMES,
    description="indicators: `text:…`, `path:…` (with * and ?) or `sha256:…`",
)
NOTICE = {
    "template": ArgumentSpec(
        type=ArgumentType.TEMPLATE, required=True, description="the notice, by name"
    ),
    "audience": ArgumentSpec(
        type=ArgumentType.AUDIENCE,
        required=True,
        description="the recipients, by name of the audience; `affected`: the incident's list",
    ),
    "sender": ArgumentSpec(
        type=ArgumentType.SENDER, description="the channel, by default notices.sender"
    ),
    "context": ArgumentSpec(
        type=ArgumentType.MAPPING, default={}, description="further values for the template"
    ),
}
