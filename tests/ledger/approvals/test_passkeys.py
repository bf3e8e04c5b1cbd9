"""Passkeys: a device signs for a person after their passphrase."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fido2.cose import ES384
from fido2.webauthn import AuthenticatorData
from hypothesis import given
from hypothesis import strategies as st

from standfast import webauthn
from standfast.errors import ApprovalRefused, UsageError
from standfast.ledger import Ledger
from standfast.ledger.approvals.decisions import APPROVE, BREAK_GLASS, REFUSE
from standfast.ledger.approvals.passkeys import MOST_PASSKEYS, signed_bytes
from standfast.ledger.approvals.two_person_rule import BREAK_GLASS_DELAY
from standfast.records import StepState
from standfast.webauthn import NewPasskey, challenge_for, encoded, read_registration
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import REVOKE, begin, claim, drafts, enrol, key_of, open_incident, runner
from tests.ledger.stage import decide as sign
from tests.passkey_device import SEEN, Device, Key

ORIGIN = "https://standfast.example.com"
CHALLENGE = bytes(range(32))


def add(ledger: Ledger, name: str, device: Device, *, by: str = "") -> str:
    """Add a passkey of `name`, signed by `by`; return its id."""
    new = read_registration(device.make(CHALLENGE), challenge=CHALLENGE, origin=ORIGIN)
    signature = key_of(by or name).sign(signed_bytes(name, new, ORIGIN, NOW)).hex()
    added = ledger.passkeys.add(name, new, origin=ORIGIN, signature=signature, now=NOW)
    return added.id


def asking(ledger: Ledger, *, account: str = "alice", role: str = "duty-manager") -> str:
    """Open an incident with one step that ann, a duty manager, may approve."""
    if not ledger.people.all():
        enrol(ledger, "ann")
    incident = open_incident(ledger, opened_by="olga")
    begin(ledger, incident, drafts(REVOKE, account), needs=1, roles=[role])
    return incident


def said_by(ledger: Ledger, incident: str, device: Device, decision: str = APPROVE) -> str:
    message = ledger.decisions.question(incident, "lock").message("ann", decision)
    return device.sign(challenge_for(message))


def decide(ledger: Ledger, incident: str, said: str, decision: str = APPROVE) -> None:
    ledger.decisions.decide(incident, "lock", "ann", decision, said, NOW)


def state(ledger: Ledger, incident: str) -> StepState:
    return ledger.incidents.state(incident).steps["lock"].state


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["ES256", "RS256"],
)
def test_passkey_approval_is_verified_at_every_claim(ledger: Ledger, key: Key) -> None:
    incident, device = asking(ledger), Device(key=key)
    add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device))
    assert state(ledger, incident) is StepState.RUNNING
    assert claim(ledger, incident, runner(ledger, incident)) is not None
    assert ledger.audit.verify().findings == ()


def test_a_passkey_refuses_too(ledger: Ledger) -> None:
    incident, device = asking(ledger), Device()
    add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device, REFUSE), REFUSE)
    assert state(ledger, incident) is StepState.REFUSED


def test_passkey_may_give_a_break_glass_approval(ledger: Ledger) -> None:
    incident, device = asking(ledger, role="lawyer"), Device()
    add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device, BREAK_GLASS), BREAK_GLASS)
    assert state(ledger, incident) is StepState.ASKING
    assert ledger.decisions.question(incident, "lock").opens_at == NOW + BREAK_GLASS_DELAY


def test_passkey_signature_counts_for_one_request_only(ledger: Ledger) -> None:
    incident, device = asking(ledger), Device()
    add(ledger, "ann", device)
    refusal = said_by(ledger, incident, device, REFUSE)
    elsewhere = said_by(ledger, asking(ledger, account="bob"), device)
    for said in (refusal, elsewhere, device.sign(CHALLENGE)):
        with pytest.raises(ApprovalRefused, match="does not match"):
            decide(ledger, incident, said)
        assert ledger.timeline(incident)[-1].action == "approval.rejected"
    assert state(ledger, incident) is StepState.ASKING


def test_a_passkey_of_somebody_else_approves_nothing(ledger: Ledger) -> None:
    incident, device = asking(ledger), Device()
    enrol(ledger, "ben")
    add(ledger, "ben", device)
    with pytest.raises(ApprovalRefused, match="'ann': has no such passkey"):
        decide(ledger, incident, said_by(ledger, incident, device))


def test_nobody_adds_a_passkey_to_another_persons_name(ledger: Ledger) -> None:
    for name in ("ann", "ben"):
        enrol(ledger, name)
    with pytest.raises(ApprovalRefused, match="passphrase of 'ann': wrong"):
        add(ledger, "ann", Device(), by="ben")
    assert ledger.passkeys.of_person("ann") == []


def test_removed_passkey_invalidates_its_signatures(
    ledger: Ledger,
) -> None:
    incident, device = asking(ledger), Device()
    id_ = add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device))
    ledger.passkeys.remove("ann", id_[:8], "os:test", NOW)
    assert ledger.passkeys.of_person("ann") == []
    with pytest.raises(ApprovalRefused, match="0 of 1 approvals verify"):
        claim(ledger, incident, runner(ledger, incident))
    with pytest.raises(ApprovalRefused, match=r"'ann'.*removed"):
        ledger.passkeys.signer(device.sign(CHALLENGE), CHALLENGE)
    with pytest.raises(UsageError, match=r"'ann'.*none"):
        ledger.passkeys.remove("ann", id_, "os:test", NOW)


def test_person_signs_again_with_another_passkey(ledger: Ledger) -> None:
    incident, device = asking(ledger), Device()
    id_ = add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device))
    with pytest.raises(UsageError, match="needs no approval now"):
        decide(ledger, incident, device.sign(CHALLENGE))
    ledger.passkeys.remove("ann", id_, "os:test", NOW)
    with pytest.raises(ApprovalRefused):
        claim(ledger, incident, runner(ledger, incident))
    assert state(ledger, incident) is StepState.ASKING
    sign(ledger, incident, "ann")
    assert claim(ledger, incident, runner(ledger, incident)) is not None
    assert ledger.audit.verify().findings == ()


def test_first_signature_stays_in_the_timeline(
    ledger: Ledger,
) -> None:
    incident, device = asking(ledger), Device()
    id_ = add(ledger, "ann", device)
    said = said_by(ledger, incident, device)
    decide(ledger, incident, said)
    ledger.passkeys.remove("ann", id_, "os:test", NOW)
    with pytest.raises(ApprovalRefused):
        claim(ledger, incident, runner(ledger, incident))
    sign(ledger, incident, "ann")
    told = [one.detail for one in ledger.timeline(incident) if one.action == "approval.approve"]
    assert [one.get("instead_of") for one in told] == [None, said]


def test_changed_approval_is_replaced_and_named(ledger: Ledger, intruder: Intruder) -> None:
    incident, device = asking(ledger), Device()
    add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device))
    intruder.run("UPDATE approval SET signature = '00'")
    with pytest.raises(ApprovalRefused):
        claim(ledger, incident, runner(ledger, incident))
    assert "approval" in str(ledger.audit.verify().findings)
    sign(ledger, incident, "ann")
    assert ledger.timeline(incident)[-1].detail["replaces_void"] is True
    assert claim(ledger, incident, runner(ledger, incident)) is not None


def test_repeated_break_glass_approval_waits_again(ledger: Ledger) -> None:
    incident, device = asking(ledger, role="lawyer"), Device()
    id_ = add(ledger, "ann", device)
    decide(ledger, incident, said_by(ledger, incident, device, BREAK_GLASS), BREAK_GLASS)
    ledger.passkeys.remove("ann", id_, "os:test", NOW)
    later = NOW + timedelta(hours=1)
    again = sign(ledger, incident, "ann", decision=BREAK_GLASS, now=later)
    assert again.opens_at == later + BREAK_GLASS_DELAY
    assert not ledger.decisions.start_after_delay(incident, "lock", again.round, later)


def test_additions_and_removals_are_in_the_timeline(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    id_ = add(ledger, "ann", Device())
    ledger.passkeys.remove("ann", id_, "os:olga", NOW)
    added, removed = ledger.timeline("ann")[-2:]
    assert (added.actor, added.action, added.detail["passkey"]) == ("ann", "passkey.added", id_[:8])
    assert (removed.actor, removed.action) == ("os:olga", "passkey.removed")
    assert ledger.audit.verify().findings == ()


def test_passkeys_are_unique_and_limited(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    enrol(ledger, "ben")
    for number in range(MOST_PASSKEYS):
        add(ledger, "ann", Device(credential=bytes([number])))
    with pytest.raises(UsageError, match="not used"):
        add(ledger, "ann", Device(credential=b"one more"))
    with pytest.raises(UsageError, match="already added"):
        add(ledger, "ben", Device(credential=bytes([0])))


def test_passkey_identifies_its_person(ledger: Ledger) -> None:
    enrol(ledger, "ann")
    device = Device()
    add(ledger, "ann", device)
    assert ledger.passkeys.signer(device.sign(CHALLENGE), CHALLENGE).person == "ann"
    with pytest.raises(ApprovalRefused, match="unknown here"):
        ledger.passkeys.signer(Device(credential=b"x").sign(CHALLENGE), CHALLENGE)


@pytest.mark.parametrize("column", ["public_key", "origin", "added_at", "person", "credential"])
def test_passkey_written_into_the_database_approves_nothing(
    ledger: Ledger, intruder: Intruder, column: str
) -> None:
    """The intruder has the database and a device, but not ann's passphrase."""
    incident, anns, theirs = asking(ledger), Device(), Device(credential=b"the intruder's")
    enrol(ledger, "ben")
    add(ledger, "ann", anns)
    id_ = add(ledger, "ben", theirs)
    later = (NOW + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    changed = {
        "public_key": f"UPDATE passkey SET public_key = '{theirs.public_text}'",
        "origin": "UPDATE passkey SET origin = 'https://evil.example'",
        "added_at": f"UPDATE passkey SET added_at = '{later}'",
        "person": f"UPDATE passkey SET person = 'ann' WHERE id = '{id_}'",
        "credential": f"UPDATE passkey SET credential = '{encoded(theirs.credential)}x'",
    }
    intruder.run(changed[column])
    origin = "https://evil.example" if column == "origin" else ORIGIN
    device = theirs if column == "person" else replace(anns, origin=origin)
    if column == "public_key":
        device = replace(theirs, credential=anns.credential)
    with pytest.raises(ApprovalRefused, match="passkey of 'ann': changed outside"):
        decide(ledger, incident, said_by(ledger, incident, device))
    assert ledger.audit.verify().findings != ()


def test_only_the_answer_to_this_challenge_counts() -> None:
    device, other = Device(), Device(credential=b"other")

    def refused(said: str, why: str = "does not match", challenge: bytes = CHALLENGE) -> None:
        with pytest.raises(ApprovalRefused, match=why):
            webauthn.check(said, public_key=device.public_text, challenge=challenge, origin=ORIGIN)

    webauthn.check(
        device.sign(CHALLENGE), public_key=device.public_text, challenge=CHALLENGE, origin=ORIGIN
    )
    refused(other.sign(CHALLENGE))
    refused(device.sign(CHALLENGE), challenge=bytes(32))
    refused(device.sign(CHALLENGE, type="webauthn.create"))
    evil = replace(device, origin="https://standfast.example.com.evil.example")
    refused(evil.sign(CHALLENGE), "another site")
    refused(device.sign(CHALLENGE, crossOrigin=True), "another site")
    refused(replace(device, site="example.com").sign(CHALLENGE))
    for flag in (AuthenticatorData.FLAG.UP, AuthenticatorData.FLAG.UV):
        refused(replace(device, flags=SEEN & ~flag).sign(CHALLENGE))
    cut = json.loads(device.sign(CHALLENGE))
    for name in cut:
        if name != "id":
            refused(json.dumps({**cut, name: cut[name][:-4]}))


def test_new_passkey_needs_its_own_challenge() -> None:
    device = Device()

    def refused(said: str, why: str = "does not match", challenge: bytes = CHALLENGE) -> None:
        with pytest.raises(ApprovalRefused, match=why):
            read_registration(said, challenge=challenge, origin=ORIGIN)

    new = read_registration(device.make(CHALLENGE), challenge=CHALLENGE, origin=ORIGIN)
    assert new == NewPasskey(credential=encoded(device.credential), public_key=device.public_text)
    refused(device.make(CHALLENGE), challenge=bytes(32))
    refused(device.make(CHALLENGE, type="webauthn.get"))
    refused(replace(device, origin="https://evil.example").make(CHALLENGE), "another site")
    refused(replace(device, site="evil.example").make(CHALLENGE))
    unknown = AuthenticatorData.FLAG.UP
    refused(replace(device, flags=unknown).make(CHALLENGE))
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    for weak in (rsa.generate_private_key(65537, 1024), rsa.generate_private_key(3, 2048)):
        refused(Device(key=weak).make(CHALLENGE), "its algorithm is not supported")
    unasked = Device(key=ed25519.Ed25519PrivateKey.generate())
    refused(unasked.make(CHALLENGE), "its algorithm is not supported")
    refused(Device(credential=b"").make(CHALLENGE), "its algorithm is not supported")
    more = json.dumps({**json.loads(device.make(CHALLENGE)), "more": "AAAA"})
    refused(more)
    other_kind = Device(cose=cast("Any", ES384).from_cryptography_key(p384))
    refused(other_kind.make(CHALLENGE), "its algorithm is not supported")
    refused(" " * 8_192 + device.make(CHALLENGE))
    # A curve that ES256 does not use.
    on_no_curve = Device(key=ec.generate_private_key(ec.SECP256K1()))
    refused(on_no_curve.make(CHALLENGE))


@given(
    st.one_of(
        st.text(max_size=200),
        st.fixed_dictionaries(
            {
                name: st.binary(max_size=120).map(encoded) | st.none() | st.text(max_size=20)
                for name in ("id", "client", "device", "signature", "attestation")
            }
        ).map(json.dumps),
    )
)
def test_any_browser_input_is_refused_in_words(said: str) -> None:
    with pytest.raises(ApprovalRefused):
        read_registration(said, challenge=CHALLENGE, origin=ORIGIN)
    with pytest.raises(ApprovalRefused):
        webauthn.check(said, public_key=Device().public_text, challenge=CHALLENGE, origin=ORIGIN)


@given(st.binary(max_size=200))
def test_any_device_claim_is_refused_in_words(device: bytes) -> None:
    made = json.loads(Device().make(CHALLENGE))
    with pytest.raises(ApprovalRefused):
        read_registration(
            json.dumps({**made, "attestation": encoded(device)}),
            challenge=CHALLENGE,
            origin=ORIGIN,
        )


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://standfast.example.com", "https://standfast.example.com"),
        ("https://Standfast.Example.com:443/", "https://standfast.example.com"),
        ("https://standfast.example.com:8443/x", "https://standfast.example.com:8443"),
        ("http://localhost:8350", "http://localhost:8350"),
        ("https://bücher.example.com", "https://xn--bcher-kva.example.com"),
        ("https://[::1]:8350", "https://[::1]:8350"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(address: str, origin: str) -> None:
    assert webauthn.origin_of(address) == origin
