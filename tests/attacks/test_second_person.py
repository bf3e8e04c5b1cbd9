"""Attacks on the two-person rule with one passphrase, or only a terminal.

Each test names what the attacker has, tries it through the same use-cases as the commands, and
asserts what stays true. `dana` is an operator, `lee` and `kim` are duty managers, and the
installation is a week old: its first day, on which anybody may enrol, is over.
"""

from contextlib import suppress
from dataclasses import replace
from threading import Thread

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.config.schema import LimitsConfig
from standfast.errors import ApprovalRefused, Refused, UsageError
from standfast.ledger.people.people_changes import Signer
from standfast.records import Limits, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.break_glass import break_glass
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.people.enrolment import grant_roles, remove_person
from tests.attacks.people_site import Site
from tests.attacks.people_site import site as site
from tests.usecases.installations import OWNER, PASSPHRASES, signer
from tests.usecases.twins import ACCOUNTS


def enrolled(site: Site) -> list[str]:
    return [one.name for one in site.installation.ledger.people.all()]


# A terminal and no passphrase


def test_nobody_enrols_without_a_signature(site: Site) -> None:
    with pytest.raises(Refused):
        site.enrol("eve", None, "duty-manager")
    for name in ("lee", "kim", "dana"):
        remove_person(site.installation, name, OWNER)
    with pytest.raises(Refused):  # an emptied list is no new first day
        site.enrol("eve", None, "duty-manager")
    assert enrolled(site) == []


def test_nobody_removes_in_another_persons_name(site: Site) -> None:
    site.add_duty_manager("finn", OWNER)  # enough approvers would remain
    forged = Signer(name="dana", key=Ed25519PrivateKey.generate())
    with pytest.raises(ApprovalRefused):
        remove_person(site.installation, "lee", forged)
    assert "lee" in enrolled(site)


# One passphrase: dana's


def test_one_passphrase_leaves_two_who_approve(site: Site) -> None:
    site.add_duty_manager("finn", OWNER)
    dana = signer("dana")
    for name in ("lee", "kim", "finn", "dana"):
        with suppress(ApprovalRefused):
            remove_person(site.installation, name, dana)
    left = [one for one in site.installation.ledger.people.all() if one.name != "dana"]
    assert [one.roles for one in left] == [("duty-manager",)] * 2


def test_puppets_do_not_count_among_the_two(with_finn: Site) -> None:
    with pytest.raises(ApprovalRefused):  # finn counts as one with lee
        remove_person(with_finn.installation, "kim", signer("dana"))


def test_second_signer_is_another_approver(with_finn: Site) -> None:
    site, dana, lee = with_finn, signer("dana"), signer("lee")
    key = step_decisions.signing_key(site.installation, "finn", "the same hand twice")
    for first, second in (
        (dana, dana),
        (dana, signer("kim")),  # the person that leaves
        (lee, Signer(name="finn", key=key)),  # enrolled by the first signer
        (dana, Signer(name="lee", key=Ed25519PrivateKey.generate())),
    ):
        with pytest.raises(ApprovalRefused):
            remove_person(site.installation, "kim", first, second)
    remove_person(site.installation, "kim", dana, lee)
    assert "kim" not in enrolled(site)


def test_removal_is_signed_witnessed_and_notified(site: Site) -> None:
    remove_person(site.installation, "lee", signer("dana"), signer("kim"))
    event = site.event("person.removed")
    assert (event.actor, event.subject, event.detail["second"]) == ("dana", "lee", "kim")
    for signature in ("signature", "second_signature"):
        assert len(bytes.fromhex(event.detail[signature])) == 64
    assert site.witnessed() >= event.sequence
    assert site.notified("lee was removed") == {"dana", "lee", "kim"}


def test_removal_is_witnessed_before_it_is_notified(site: Site) -> None:
    dana, kim = signer("dana"), signer("kim")
    site.smtp.hold("data")
    removal = Thread(target=remove_person, args=(site.installation, "lee", dana, kim))
    removal.start()
    try:
        site.smtp.wait_for("data")
        assert site.witnessed() >= site.event("person.removed").sequence
    finally:
        site.smtp.release()
        removal.join()


def test_enrolment_is_witnessed_and_notified(site: Site) -> None:
    site.enrol("eve", signer("dana"))
    assert site.witnessed() >= site.event("person.enrolled").sequence
    assert site.notified("eve was enrolled") == {"dana", "lee", "kim", "eve"}


def test_nobody_grants_a_role_that_they_lack(site: Site) -> None:
    dana = signer("dana")
    with pytest.raises(ApprovalRefused):
        site.enrol("eve", dana, "duty-manager")
    with pytest.raises(ApprovalRefused):
        grant_roles(site.installation, "dana", ["duty-manager"], dana)
    assert "eve" not in enrolled(site)
    assert site.installation.ledger.people.get("dana").roles == ("operator",)


def test_granted_role_is_witnessed_and_notified(site: Site) -> None:
    grant_roles(site.installation, "dana", ["duty-manager"], signer("lee"))
    assert site.installation.ledger.people.get("dana").roles == ("duty-manager", "operator")
    assert site.witnessed() >= site.event("person.granted").sequence
    assert site.notified("dana was given a role") == {"dana", "lee", "kim"}


@pytest.mark.parametrize(
    "same",
    [
        {"mail": "LEE@example.com"},
        {"full_name": "LEE"},
        {"passphrase": "a quiet row of lamps"},
    ],
    ids=["mail", "full_name", "passphrase"],
)
def test_one_human_is_not_enrolled_twice(site: Site, same: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        site.enrol("lee2", signer("lee"), "duty-manager", **same)
    assert "lamps" not in str(refused.value)
    assert "lee2" not in enrolled(site)


# Two passphrases of one human: lee has enrolled finn, whose passphrase is lee's, too


@pytest.fixture
def with_finn(site: Site) -> Site:
    """Return the site a week after lee enrolled finn as a duty manager."""
    site.add_duty_manager("finn", signer("lee"))
    return site.after(days=7)


def asking(site: Site, opened_by: str | None) -> str:
    """Open an incident with a notice to customers that waits for approvals."""
    case = site.installation.open("account-takeover", opened_by=opened_by)
    site.installation.advance(case)
    step_decisions.answer(site.installation, case, "customers_affected", "yes", by="kim")
    state = site.installation.advance(case).state.steps["tell_customers"].state
    assert state is StepState.ASKING
    return case


@pytest.mark.parametrize(("opener", "approver"), [("lee", "finn"), ("finn", "lee")])
def test_enroller_and_enrolled_approve_nothing_of_each_other(
    with_finn: Site, opener: str, approver: str
) -> None:
    case = asking(with_finn, opener)
    with pytest.raises(ApprovalRefused):
        with_finn.decide(case, "tell_customers", approver)


def test_enroller_and_enrolled_give_one_approval(with_finn: Site) -> None:
    case = asking(with_finn, None)  # nobody signed in, so two must approve
    first = with_finn.decide(case, "tell_customers", "lee")
    assert (first.given, first.needed) == (1, 2)
    with pytest.raises(ApprovalRefused):
        with_finn.decide(case, "tell_customers", "finn")
    second = with_finn.decide(case, "tell_customers", "kim")
    assert (second.given, second.needed) == (2, 2)


# A small site's way out of a deadlock: the owner's key


def test_owner_enrols_who_counts_alone_and_at_once(site: Site) -> None:
    for name in ("lee", "kim"):
        remove_person(site.installation, name, OWNER)
    case = site.installation.open("account-takeover", opened_by="dana")
    site.installation.advance(case)
    site.add_duty_manager("nia", OWNER)
    step_decisions.answer(site.installation, case, "customers_affected", "yes", by="nia")
    site.installation.advance(case)
    asked = site.decide(case, "tell_customers", "nia")
    assert asked.given == asked.needed == 1


# A terminal and no passphrase, in a live incident


@pytest.fixture
def contained(site: Site) -> str:
    """Return dana's incident with one account that is locked and proven."""
    return site.installation.run("account-takeover")


def test_nobody_moves_a_live_incident_unsigned(site: Site, contained: str) -> None:
    installation = site.installation
    for move in (lifecycle.stop, lifecycle.close):
        with pytest.raises(ApprovalRefused):
            move(installation, contained)
    with pytest.raises(ApprovalRefused):
        effect_undo.undo(installation, contained)
    lifecycle.stop(installation, contained, by="lee")
    with pytest.raises(ApprovalRefused):
        lifecycle.resume(installation, contained)
    assert installation.ledger.incidents.is_stopped(contained)
    lifecycle.close(installation, contained, by="lee")
    with pytest.raises(ApprovalRefused):
        lifecycle.reopen(installation, contained)
    assert not installation.is_enabled("agent01")


def test_person_without_a_role_only_stops(site: Site, contained: str) -> None:
    installation = site.installation
    site.enrol("nora", signer("lee"))
    later = site.after(days=2).installation
    lifecycle.stop(later, contained, by="nora")
    for move in (lifecycle.close, lifecycle.resume):
        with pytest.raises(ApprovalRefused):
            move(later, contained, by="nora")
    with pytest.raises(ApprovalRefused):
        effect_undo.undo(later, contained, requested_by="nora")
    assert installation.ledger.incidents.is_stopped(contained)


# One passphrase in a live incident: dana's, who opened it


def test_one_passphrase_unlocks_nothing(site: Site, contained: str) -> None:
    installation = site.installation
    plan = effect_undo.undo(installation, contained, requested_by="dana")
    assert (plan.restores, plan.unproven, plan.needs_approvals) == (1, 0, 1)
    with pytest.raises(ApprovalRefused):
        site.decide(contained, plan.step, "dana")
    installation.advance(contained)
    assert not installation.is_enabled("agent01")
    site.decide(contained, plan.step, "lee")
    installation.advance(contained)
    assert installation.is_enabled("agent01")


def test_requester_is_not_the_only_approver(site: Site, contained: str) -> None:
    installation = site.installation
    plan = effect_undo.undo(installation, contained, requested_by="lee")
    site.decide(contained, plan.step, "lee")
    installation.advance(contained)
    assert not installation.is_enabled("agent01")
    site.decide(contained, plan.step, "kim")
    installation.advance(contained)
    assert installation.is_enabled("agent01")


# One passphrase, used to contain alone: dana's incident locks the duty managers' own accounts


WHY = "nobody answers"
NORAS = "a puppet on two strings"


@pytest.fixture
def against_approvers(site: Site) -> tuple[Site, str]:
    """Return a site with a limit of one, and an incident about lee and kim."""
    limits = LimitsConfig(accounts_without_second_person=1)
    config = site.installation.config.model_copy(update={"limits": limits})
    site = replace(site, installation=replace(site.installation, config=config))
    case = site.installation.open("lock", ["agents:lee", "agents:kim"])
    assert site.installation.advance(case).state.steps["lock"].state is StepState.ASKING
    return site, case


def break_alone(site: Site, case: str) -> None:
    break_glass(site.installation, case, None, "dana", PASSPHRASES["dana"], because=WHY)


def test_broken_glass_notifies_its_targets(against_approvers: tuple[Site, str]) -> None:
    site, case = against_approvers
    break_alone(site, case)
    assert site.notified("break-glass approval") == {"lee", "kim"}


def test_target_refuses_a_broken_glass(against_approvers: tuple[Site, str]) -> None:
    site, case = against_approvers
    with pytest.raises(ApprovalRefused):
        site.decide(case, "lock", "lee")  # to approve is another matter
    break_alone(site, case)
    site.decide(case, "lock", "lee", approves=False)
    later = site.after(minutes=11).installation
    assert later.advance(case).state.steps["lock"].state is StepState.REFUSED
    assert later.is_enabled("lee")


def test_target_reviews_and_breaker_does_not(against_approvers: tuple[Site, str]) -> None:
    site, case = against_approvers
    break_alone(site, case)
    later = site.after(minutes=11)
    later.installation.advance(case)
    with pytest.raises(Refused):
        lifecycle.close(later.installation, case, by="dana")
    with pytest.raises(ApprovalRefused):
        later.decide(case, "lock", "dana")
    later.decide(case, "lock", "kim", approves=False)
    lifecycle.close(later.installation, case, by="dana")


def test_puppet_does_not_review_its_enroller(against_approvers: tuple[Site, str]) -> None:
    site, case = against_approvers
    site.add_duty_manager("finn", OWNER)
    break_alone(site, case)
    later = site.after(minutes=11)
    later.installation.advance(case)
    later.enrol("nora", signer("dana"), passphrase=NORAS)
    with pytest.raises(ApprovalRefused):
        step_decisions.decide(later.installation, case, "lock", "nora", NORAS)
    later.decide(case, "lock", "finn")


def test_no_glass_where_nobody_could_refuse(against_approvers: tuple[Site, str]) -> None:
    site, case = against_approvers
    for name in ("lee", "kim"):
        remove_person(site.installation, name, OWNER)
    with pytest.raises(ApprovalRefused):
        break_alone(site, case)
    assert site.installation.advance(case).state.steps["lock"].state is StepState.ASKING


def test_no_glass_where_only_a_puppet_was_notified(against_approvers: tuple[Site, str]) -> None:
    site, case = against_approvers
    site.enrol("nora", signer("dana"), passphrase=NORAS)
    for name in ("lee", "kim"):
        site.smtp.answer_recipient(f"{name}@example.com", "550 no such user")
    with pytest.raises(ApprovalRefused):
        break_alone(site, case)
    assert site.installation.ledger.incidents.state(case).steps["lock"].opens_at is None


# A trigger's key: a message names the approvers


class AliasedDirectory(SimulatedConnector):
    """A directory in which an account has a second name."""

    def canonical(self, name: str) -> str:
        return "lee" if name == "l.moss" else name


def with_alias(site: Site) -> Site:
    site.installation.twins.directory = AliasedDirectory(
        "agents",
        dict.fromkeys((*ACCOUNTS, "lee", "kim"), True),
        limits=Limits(batch=2, workers=2, timeout_seconds=0.05),
        retry_after_seconds=0.01,
    )
    return site


@pytest.mark.parametrize("is_first", [True, False])
def test_joined_alias_disqualifies_no_approver(site: Site, is_first: bool) -> None:
    installation = with_alias(site).installation
    case = installation.open("account-takeover", ["agents:agent01"], trigger="siem 1")
    if not is_first:  # the lock of the requester's account has begun
        installation.advance(case)
    installation.open("account-takeover", ["agents:agent01", "agents:l.moss"], trigger="siem 1")
    installation.advance(case)
    assert not installation.is_enabled("lee")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="kim")
    installation.advance(case)
    assert site.decide(case, "tell_customers", "lee").given == 1


def test_trigger_frees_no_target_of_the_requester(site: Site) -> None:
    installation = with_alias(site).installation
    case = installation.open("account-takeover", ["agents:l.moss"], trigger="siem 1")
    installation.advance(case)
    installation.open("account-takeover", ["agents:l.moss", "agents:lee"], trigger="siem 1")
    step_decisions.answer(installation, case, "customers_affected", "yes", by="kim")
    installation.advance(case)
    with pytest.raises(ApprovalRefused):
        site.decide(case, "tell_customers", "lee")


def test_trigger_disqualifies_no_approver(site: Site) -> None:
    installation = site.installation
    named = ["agents:lee", "agents:kim"]
    case = installation.open("account-takeover", named, trigger="siem 1", opened_by=None)
    installation.advance(case)
    step_decisions.answer(installation, case, "customers_affected", "yes", by="lee")
    installation.advance(case)
    paged = {one.address for one in installation.twins.mail.messages}
    assert {"lee@example.com", "kim@example.com"} <= paged
    first = site.decide(case, "tell_customers", "lee")
    second = site.decide(case, "tell_customers", "kim")
    assert (first.given, second.given, second.needed) == (1, 2, 2)


def test_joining_trigger_disqualifies_no_approver(site: Site) -> None:
    installation = site.installation
    case = installation.open("account-takeover", ["agents:agent01"], trigger="siem 1")
    installation.open("account-takeover", ["agents:agent01", "agents:lee"], trigger="siem 1")
    installation.advance(case)
    step_decisions.answer(installation, case, "customers_affected", "yes", by="kim")
    installation.advance(case)
    assert not installation.is_enabled("lee"), "the trigger's account is locked, too"
    assert site.decide(case, "tell_customers", "lee").given == 1
