"""Mails to enrolled people, sent immediately, outside any incident.

An enrolled person has a passphrase or passkey in the ledger (the database of incidents), and may
approve steps of incidents. The caller chooses the recipients and the content, and ensures that no
message is sent twice.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing

from standfast.adapters.senders import Message
from standfast.errors import StandfastError
from standfast.ledger.people.enrolment import Person
from standfast.notices.prepared_notice import pick_language
from standfast.notices.template_renderer import prepare
from standfast.records import EffectState, JsonObject
from standfast.usecases.core.installation import Installation


def notify_each(
    installation: Installation,
    template: str,
    values: JsonObject,
    people: Sequence[Person],
    token: str,
    *,
    sender_name: str | None = None,
) -> tuple[Counter[EffectState], str]:
    """Send one message to each person; return counts by state and an error.

    The error is "" if the messages were passed to the sender (the adapter of a message channel,
    such as SMTP). `values` are the values of the template, except the organisation and its contact
    line. `token` identifies this notification. Without `sender_name`, the default sender is used.
    """
    if not people:
        return (Counter(), "nobody enrolled can be reached. Enrol with `standfast people add`.")
    organisation = installation.config.organisation
    try:
        with closing(installation.alarm_channels()) as adapters:
            sender = adapters.sender(sender_name or adapters.default_sender())
            prepared = prepare(
                adapters.templates[template],
                {
                    "organisation": organisation.name,
                    "contact_line": organisation.contact_line,
                    **values,
                },
            )
            language = pick_language("", prepared.languages, organisation.languages[0]).language
            messages = []
            for number, person in enumerate(people):
                filled = prepared.fill(
                    language, {"name": person.full_name}, "", address=person.mail
                )
                messages.append(
                    Message(
                        token=f"{token}.{number}",
                        address=person.mail,
                        subject=filled.subject,
                        text=filled.text,
                        html=filled.html,
                        language=language,
                    )
                )
            results = sender.send(messages)
    except StandfastError as error:
        return Counter({EffectState.FAILED: len(people)}), str(error)
    return Counter(result.state for result in results), ""
