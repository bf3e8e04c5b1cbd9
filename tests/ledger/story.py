"""A ledger with rows in every table, written by public interfaces.

`PERSONAL` has the personal texts, so that a test can search for them in the database's bytes; no
other text resembles them.
"""

from datetime import timedelta

from standfast.deadlines.incident_facts import FactKind
from standfast.ledger import Ledger
from standfast.ledger.approvals.passkeys import signed_bytes
from standfast.ledger.effects.effect_rows import EffectQueue
from standfast.ledger.incidents.incident_facts import Statement
from standfast.ledger.people.staff_list import Member
from standfast.playbook.planned_effects import Draft, Expansion, FrozenNotice
from standfast.records import (
    DeliveryEvent,
    DeliveryState,
    EffectState,
    Mode,
    Observed,
    Proof,
    Result,
    StepState,
)
from standfast.webauthn import read_registration
from tests.ledger.ledger_files import FOUNDED, NOW
from tests.ledger.stage import (
    LIMITS,
    LOCK,
    OWNER,
    begin,
    decide,
    drafts,
    enrol,
    key_of,
    open_incident,
    results,
    runner,
)
from tests.passkey_device import Device

ORIGIN = "https://standfast.example.com"
CHALLENGE = bytes(range(32))
TELL = EffectQueue(verb="notices.send", connector="smtp")

PERSONAL = {
    "full name": "Zebediah Quartermaine",
    "mail": "zebediah@quartermaine.example",
    "own account": "agents:zquartermaine",
    "account": "ymirsson",
    "unknown account": "xanthippe",
    "input": "seen on the floor with wolfhound",
    "customer": "violetta@ulverstone.example",
    "slot": "Dear Violetta Ulverstone",
    "prior state": "cn=ymirsson-before",
    "facts": "message-for-violetta-accepted",
    "reason": "550 no mailbox violetta here",
    "answer": "tarquin says he is abroad",
    "page": "pager-of-zebediah",
    "staff number": "HR-quillfeather-7",
    "staff name": "Hyacinth Quillfeather",
    "staff account": "agents:hquillfeather",
    "message id": "msg_of_quillfeather",
    "reference": "letter of sergeant brackenbury",
    "affected": "ottilie@ravenglass.example",
    "note": "she rang from ravensworth",
}
NOTICE = FrozenNotice(
    template="breach",
    body={"en": {"subject": "What happened", "text": "Dear {{ name }}"}},
    digest="d" * 64,
    root="e" * 64,
    audience="customers",
    recipients=1,
)
EXPANSION = Expansion(
    drafts=(
        Draft(
            verb=TELL.verb,
            connector=TELL.connector,
            target=f"mail:{PERSONAL['customer']}",
            details={"values": {"name": PERSONAL["slot"]}},
        ),
    ),
    notice=NOTICE,
)


def tell(ledger: Ledger) -> str:
    """Run one incident from enrolment to undo; return its id."""
    _enrol(ledger)
    incident = open_incident(
        ledger,
        trigger="alert-1",
        inputs={"accounts": [PERSONAL["account"]], "reason": PERSONAL["input"]},
    )
    open_incident(ledger, trigger="alert-1", message=PERSONAL["message id"])
    _list_staff(ledger)
    who = runner(ledger, incident)
    locked = _lock(ledger, incident, who)
    _notify(ledger, incident, who)
    undo = Draft(
        verb="accounts.unlock",
        connector="agents",
        target=f"agents:{PERSONAL['account']}",
        undoes=locked,
        prior={"entry": PERSONAL["prior state"]},
    )
    begin(ledger, incident, [undo], step="undo-1")
    ledger.audit.sign_head(NOW)
    _talk(ledger, incident)
    delay = Statement(kind=FactKind.DELAY, name="us-fl-residents", reference=PERSONAL["reference"])
    ledger.facts.state(incident, delay, "olga", NOW)
    people = [[0, PERSONAL["affected"]]]
    ledger.affected.add(incident, [people], {}, replaces=False, author="olga", now=NOW)
    ledger.notes.add(incident, PERSONAL["note"], author="olga", now=NOW)
    ledger.runners.extend_lease(who, incident, NOW)
    run = ledger.runs.start("backup", "calls", "direct", "olga", NOW)
    ledger.runs.finish(run, "backup", "done", {"files": 3}, "olga", NOW)
    ledger.audit.sign_head(NOW)
    return incident


def _enrol(ledger: Ledger) -> None:
    ledger.people.enrol(
        name="zed",
        full_name=PERSONAL["full name"],
        mail=PERSONAL["mail"],
        accounts=[PERSONAL["own account"]],
        roles=["duty-manager"],
        public_key=key_of("zed").public_key().public_bytes_raw().hex(),
        salt="00" * 16,
        enrolled_by="init",
        now=FOUNDED,
    )
    enrol(ledger, "leaver")
    ledger.people.remove("leaver", OWNER, NOW)
    for credential in (b"one", b"other"):  # two passkeys, so that a test can swap them
        made = Device(credential=credential).make(CHALLENGE)
        new = read_registration(made, challenge=CHALLENGE, origin=ORIGIN)
        signed = key_of("zed").sign(signed_bytes("zed", new, ORIGIN, NOW)).hex()
        ledger.passkeys.add("zed", new, origin=ORIGIN, signature=signed, now=NOW)


def _list_staff(ledger: Ledger) -> None:
    listed = Member(
        key=PERSONAL["staff number"],
        full_name=PERSONAL["staff name"],
        accounts=(PERSONAL["staff account"],),
        roles=("agent",),
        leaves_at=NOW,
    )
    ledger.staff.replace_list("csv", [listed], "olga", NOW)


def _lock(ledger: Ledger, incident: str, who: str) -> str:
    names = (PERSONAL["account"], PERSONAL["unknown account"])
    planned = [
        Draft(
            verb=LOCK.verb,
            connector="agents",
            target=f"agents:{name}",
            details={"reason": PERSONAL["input"]},
        )
        for name in names
    ]
    begin(ledger, incident, planned, needs=1, roles=["duty-manager"])
    page = Draft(verb="people.page", connector="pager", target=PERSONAL["page"])
    ledger.steps.ask(incident, "lock", 1, [page], NOW)
    decide(ledger, incident, "zed")
    rows = ledger.effects.without_prior(incident, LOCK, NOW, 10)
    seen = [
        (
            row,
            Observed(
                target=row.target,
                exists=row.target.endswith(PERSONAL["account"]),
                state={"entry": PERSONAL["prior state"]},
            ),
        )
        for row in rows
    ]
    ledger.prior_states.keep(incident, seen, who, NOW)
    batch = ledger.attempts.claim(incident, LOCK, who, Mode.LIVE, LIMITS, NOW)
    assert batch is not None
    done = Result(target="", state=EffectState.DONE, proof=Proof.READ_BACK)
    ledger.attempts.receipt(batch, [done], who, NOW)
    ledger.steps.finish(incident, "lock", 1, StepState.PARTIAL, "1 of 2 done", NOW)
    return batch.effects[0].token


def _notify(ledger: Ledger, incident: str, who: str) -> None:
    ledger.steps.expand(incident, "tell", 1, EXPANSION, "olga", NOW)
    batch = ledger.attempts.claim(incident, TELL, who, Mode.LIVE, LIMITS, NOW)
    assert batch is not None
    told = Result(
        target="",
        state=EffectState.FAILED,
        reason=PERSONAL["reason"],
        facts={"said": PERSONAL["facts"]},
        retry_after_seconds=60,
    )
    ledger.attempts.receipt(batch, [told], who, NOW)
    begin(ledger, incident, drafts(TELL, "somebody@customers.test"), step="tell-others")
    batch = ledger.attempts.claim(incident, TELL, who, Mode.LIVE, LIMITS, NOW)
    assert batch is not None
    ledger.attempts.receipt(batch, results(batch), who, NOW)
    event = DeliveryEvent(
        token=batch.effects[0].token, state=DeliveryState.DELIVERED, at=NOW, is_complaint=True
    )
    ledger.deliveries.store_reports([event], "events:sendgrid", NOW)


def _talk(ledger: Ledger, incident: str) -> None:
    ledger.steps.prompt(incident, "call", 1, NOW)
    ledger.decisions.answer(incident, "call", PERSONAL["answer"], "olga", NOW)
    ledger.steps.wait_until(incident, "pause", 1, NOW + timedelta(hours=1), NOW)
