"""A hostile row in a customer file changes no other message."""

import csv
from pathlib import Path

from standfast.adapters.audience_sources.files import csv_audience
from standfast.adapters.senders import Message
from standfast.notices.audience_rows import Rules
from standfast.notices.prepared_notice import pick_language
from standfast.notices.template_folder import read_templates
from standfast.notices.template_renderer import prepare
from standfast.records import EffectState
from tests.adapters.senders.smtp_senders import parsed, sender_for
from tests.servers.smtp import SmtpServer

HOSTILE_NAMES = [
    "Eve\r\nBcc: all@customers.test\r\n\r\nnew body",
    "Eve\n.\nMAIL FROM:<evil@customers.test>",
    "<img src=//track.test><script>alert(1)</script></p></body>",
    "{{ recipient.name }}{% for x in things %}{{ config }}",
    "\u202eemordnilap\u202c\u2066",
    "From: somebody else",
    "ö" * 190,
    "=?utf-8?q?=0D=0ABcc:_all=40customers.test?=",
]


def test_hostile_names_stay_text_in_own_mail(smtp_server: SmtpServer, tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    rows = [(f"eve{number}@customers.test", name) for number, name in enumerate(HOSTILE_NAMES)]
    rows += [("huge@customers.test", "x" * 10_000_000), ("no address\r\n", "Eve")]
    rows += [("ana@customers.test", "Ana"), ("ben@bücher.test", "Ben")]
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("email", "name"), *rows])
    audience = csv_audience(file, {"address": "email", "name": "name"}, Rules(why="it was open"))
    assert [one.row_number for one in audience.rejected] == [10, 11]

    template = read_templates()["customers-account-takeover"]
    prepared = prepare(template, template.example_context())
    messages = []
    for number, person in enumerate(audience.recipients):
        language = pick_language(person.language, prepared.languages, "en").language
        token = f"token-{number}"
        filled = prepared.fill(language, person.values(), token, address=person.address)
        messages.append(
            Message(
                token=token,
                address=person.address,
                subject=filled.subject,
                text=filled.text,
                html=filled.html,
                language=language,
            )
        )
    results = sender_for(smtp_server).send(messages)
    assert {result.state for result in results} == {EffectState.DONE}
    assert [parsed(one) for one in smtp_server.delivered] == messages

    greeting = "Dear Ana,\n"
    (ana,) = (one for one in messages if one.address == "ana@customers.test")
    assert ana.text.startswith(greeting)
    rest = ana.text.removeprefix(greeting)
    for one, delivered in zip(messages, smtp_server.delivered, strict=True):
        assert one.text.endswith(rest)
        assert one.text.removesuffix(rest).count("\n") == 1
        assert delivered.recipients == (one.address,)
        assert "Bcc" not in delivered.message
        assert "<img" not in one.html
        assert "<script" not in one.html
    assert messages[-1].address == "ben@xn--bcher-kva.test"
