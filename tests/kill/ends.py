"""Expected end of an incident after a kill, checked from every side.

The directory counts its changes, the channel counts its messages, and the ledger has its records.
None may contradict another: right after the death, at rest, and after people have settled the
unknown outcomes.
"""

import time
from collections import Counter
from collections.abc import Sequence

import httpx

from standfast.ledger.effects.effect_rows import EffectRow
from standfast.records import EffectState, StepState
from standfast.usecases.approvals import effect_settlement
from standfast.usecases.notices import delivery_accounting
from standfast.usecases.notices.delivery_accounting import End, Line
from tests.console.installations import site_at
from tests.kill.people import Changes
from tests.kill.world import AUDIENCE, CUSTOMERS, Grid, World

_SENT = ("notices.send", "people.page")
_NOT_LEFT = (End.PLANNED, End.REFUSED, End.HELD)
_IN_DOUBT = (End.UNKNOWN, End.UNDER_WAY)


def check_recipients(world: World) -> Counter[End]:
    """Check that each person is in one list, and that the channel agrees."""
    found: Counter[End] = Counter()
    taken = world.channel.taken()
    for case in cases(world):
        lines: list[Line] = []
        accounts = delivery_accounting.account(
            world.installation, case, unmasked_because="a drill", each=lines.append
        )
        for notice in accounts:
            of_step = [line for line in lines if line.step == notice.step]
            assert notice.audience == len(of_step) == AUDIENCE
            assert len({line.person for line in of_step}) == AUDIENCE, "each person has one line"
            found.update(notice.counts)
            for line in of_step:
                if line.end in _IN_DOUBT:
                    assert taken[line.address] <= 1, "nobody gets two messages"
                else:
                    has_message = line.end not in _NOT_LEFT
                    assert taken[line.address] == has_message, (line.end, "as the channel says")
    return found


def check_at_rest(world: World) -> None:
    """Check that containment is locked once and unknown outcomes are named."""
    taken, effects = world.channel.taken(), rows(world)
    assert len({row.token for row in effects}) == len(effects)
    unknown = [row for row in effects if row.state is EffectState.UNKNOWN]
    assert len(unknown) <= _lost(world), "only lost calls are unknown"
    sent = [row for row in effects if row.verb in _SENT]  # one page per step, to each approver
    done = messages_done(effects)
    for row in effects:
        if row.verb not in _SENT:
            assert row.state is EffectState.DONE, (row.verb, row.state, row.reason)
        elif row.state is EffectState.DONE:
            assert taken[_name(row)] >= done[_name(row)], (
                "each recipient that counts as notified has a message"
            )
        elif row.state is EffectState.UNKNOWN:
            assert row.is_parked, "it waits for the provider's event, or for a person's report"
    assert taken <= Counter(map(_name, sent)), "nobody gets two messages"


def settle_unknown_messages(world: World) -> bool:
    """Settle unknown messages by events and people; return if any existed."""
    taken = world.channel.taken()
    has_doubts = any(row.state is EffectState.UNKNOWN for row in rows(world))
    if has_doubts and isinstance(world.channel, Grid):
        send_delivery_events(world, world.channel)
    done = messages_done(rows(world))
    for row in rows(world):
        if row.state is EffectState.UNKNOWN:
            happened = taken[_name(row)] > done[_name(row)]
            done[_name(row)] += happened
            assert not (happened and isinstance(world.channel, Grid)), (
                "the event settled it already"
            )
            effect_settlement.settle(
                world.installation, row.incident, row.token, happened=happened, by="lee"
            )
    return has_doubts


def messages_done(effects: Sequence[EffectRow]) -> Counter[str]:
    """Count the messages to each address that are done in the ledger."""
    return Counter(
        _name(row) for row in effects if row.verb in _SENT and row.state is EffectState.DONE
    )


def send_delivery_events(world: World, channel: Grid) -> None:
    """Send SendGrid's signed events about every accepted message."""
    account, now = channel.account, int(time.time())
    events = [account.event(mail.token, "delivered", now) for mail in account.taken]
    if events:
        body, headers = account.signed(events, now)
        with site_at(world.case.config_file, world.case.env) as site:
            answer = httpx.post(
                f"{site.url}/events/sendgrid",
                content=body,
                headers=headers,
                trust_env=False,
                timeout=30,
            )
        assert answer.status_code == 204


def check_end(world: World) -> None:
    """Check that everything is done once, and the right people can sign in."""
    (case,) = cases(world)
    state = world.installation.ledger.incidents.state(case)
    for view in (*state.steps.values(), *state.extra):
        has_refused = view.step == "tell_customers"
        assert view.state is (StepState.PARTIAL if has_refused else StepState.DONE), view
    taken, effects = world.channel.taken(), rows(world)
    done = messages_done(effects)
    for row in effects:
        # A planned page is no longer needed once its step was approved or refused.
        is_moot = row.verb == "people.page" and row.state is EffectState.PLANNED
        assert row.state in (EffectState.DONE, EffectState.REFUSED) or is_moot, row.reason
        if row.verb in _SENT:
            assert taken[_name(row)] == done[_name(row)], "each counts once"
    (refused,) = (row.verb for row in effects if row.state is EffectState.REFUSED)
    assert refused == "notices.send", "only the customer without an address is refused"
    assert [taken[address] for address in CUSTOMERS] == [1] * len(CUSTOMERS)
    if "lock" in state.steps:
        taken_over, innocent = world.case.accounts
        assert not world.agents.signs_in(taken_over), "the old password is refused"
        assert world.agents.signs_in(innocent), "the unlocked account can sign in"
        assert world.agents.changes(taken_over) == Changes(locks=1, unlocks=0)
        assert world.agents.changes(innocent) == Changes(locks=1, unlocks=1)
    assert world.installation.ledger.audit.verify().findings == ()


def cases(world: World) -> list[str]:
    return [incident.id for incident in world.installation.ledger.incidents.all()]


def rows(world: World) -> list[EffectRow]:
    """Return all effects."""
    return [
        row for case in cases(world) for row in world.installation.ledger.effects.of_incident(case)
    ]


def _lost(world: World) -> int:
    """Count effects of a dead runner, or with a call that was cut."""
    count = 0
    for case in cases(world):
        for event in world.installation.ledger.timeline(case):
            if event.action == "attempts.lapsed":
                count += event.detail["effects"]
            elif event.action == "attempt.ended":
                count += event.detail["results"].get("unknown", 0)
    return count


def _name(row: EffectRow) -> str:
    return row.target.partition(":")[2]
