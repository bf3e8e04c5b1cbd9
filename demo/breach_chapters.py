"""Chapters of the breach: plan, contain, ask, notify, unlock, verify.

The ledger is the database of the incident. Its audit chain has an event for each change of a row,
and each event contains the hash of the event before.
"""

from dataclasses import dataclass

from demo.demo_configuration import ABORT_SECONDS, DIRECTORY
from demo.server_processes import MAILBOX
from demo.tour_context import MANAGER, OPERATOR, PASSPHRASES, TourContext, expect
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import EffectState, Mode, Proof, StepState
from standfast.reports.report_sentences import duration
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents import effect_undo
from standfast.usecases.incidents.lifecycle import look, open_incident
from standfast.usecases.incidents.plan import plan_incident

SCENARIO = "account-takeover"
_INPUT = "--input accounts=@taken-over.txt"


@dataclass(frozen=True, kw_only=True)
class Breach:
    """The incident of the chapters."""

    tour: TourContext
    incident: str

    def look(self) -> State:
        with self.tour.installation() as installation:
            return look(installation, self.incident).state

    def effects(self, verb: str) -> list[EffectRow]:
        with self.tour.installation() as installation:
            return [
                e for e in installation.ledger.effects.of_incident(self.incident) if e.verb == verb
            ]

    def carry_on(self, title: str, step: str) -> None:
        """Run the incident as far as possible; show the progress of `step`."""

        def progress() -> tuple[int, int]:
            view = self.look().steps.get(step)
            return (view.counts.done, view.counts.total) if view else (0, 0)

        with self.tour.output.show_progress(title, progress):
            self.tour.engine.respond(self.incident)


def plan(tour: TourContext) -> None:
    """Show the changes that the playbook would make; planning makes none."""
    output = tour.output
    accounts, before = tour.centre.taken_over, tour.mail()
    tour.taken_over_file.write_text("".join(f"{account}\n" for account in accounts))
    with output.chapter(f"An intruder uses {len(accounts)} accounts. First, the plan"):
        output.print_command(f"standfast incident plan {SCENARIO} {_INPUT} --as {OPERATOR}")
        with output.show_progress("reading"), tour.installation() as installation:
            report = plan_incident(
                installation, SCENARIO, {"accounts": list(accounts)}, is_signed=True
            )
        expect(not any(step.impossible for step in report.steps), "every step can be carried out")
        for step in report.steps:
            words = [f"{n}: {counted(count, 'target')}" for n, count in step.by_adapter.items()]
            words += [f"{count} refused: {reason}" for reason, count in step.refused.items()]
            words += ["cannot be undone"] if step.is_irreversible else []
            words += [f"waits for {counted(step.approvals, 'approval')}"] if step.approvals else []
            output.print_line(f"· {step.title}" + (f": {'; '.join(words)}" if words else ""))
        expect(not tour.locked() and tour.mail() == before, "a plan changes nothing")
        output.print_line("Nothing was changed.")


def contain(tour: TourContext) -> Breach:
    """Open the incident live: copy logs, lock accounts, test, warn staff."""
    output = tour.output
    accounts, before = tour.centre.taken_over, tour.mail()
    with output.chapter("Now live: contain it"):
        output.print_command(f"standfast incident open {SCENARIO} {_INPUT} --as {OPERATOR}")
        with tour.installation() as installation:
            opened = open_incident(
                installation,
                SCENARIO,
                {"accounts": list(accounts), "reason": "sign-ins from unknown addresses"},
                mode=Mode.LIVE,
                opened_by=step_decisions.authenticated_person(
                    installation, OPERATOR, PASSPHRASES[OPERATOR]
                ),
            )
        breach = Breach(tour=tour, incident=opened.incident)
        breach.carry_on("containing", "lock")
        locks, proofs = breach.effects("accounts.lock"), breach.effects("accounts.prove_locked")
        frozen = breach.effects("evidence.snapshot")
        expect(_all_done(locks, len(accounts)), "every account is locked")
        expect(
            _all_done(proofs, len(accounts)) and all(e.proof is Proof.REFUSED for e in proofs),
            "every lock is proven: a sign-in is refused",
        )
        expect(
            tour.locked() == set(accounts), "exactly these accounts are inactive in the directory"
        )
        expect(_all_done(frozen, 2), "the logs are frozen")
        staff = len(tour.centre.agents) + 2
        expect(
            _all_done(breach.effects("notices.send"), staff)
            and (tour.mail() - before).total() == staff,
            "each of the staff has one mail, and nobody else has any",
        )
        files = sum(int(str(e.facts["files"])) for e in frozen)
        output.print_line(
            f"{opened.incident}: {counted(files, 'log file')} frozen and sealed as evidence."
        )
        output.print_line(
            f"{len(accounts)} accounts locked {_locked_after(breach)} after it opened."
        )
        output.print_line(
            "Each lock is proven (sign-in refused): the intruder's session token is not accepted."
        )
        output.print_line(f"{staff} members of staff are warned.")
        output.print_line(f"The next step waits for a person: {_next(breach)}")
    return breach


def notify_customers(breach: Breach) -> None:
    """Answer the question, approve as a second person, and notify customers."""
    tour, output = breach.tour, breach.tour.output
    customers = len(tour.centre.customers)
    with output.chapter("Customers are affected: notify them"):
        output.print_command(
            f"standfast incident answer {breach.incident} customers_affected yes --as {MANAGER}"
        )
        with tour.installation() as installation:
            by = step_decisions.authenticated_person(installation, MANAGER, PASSPHRASES[MANAGER])
            step_decisions.answer(installation, breach.incident, "customers_affected", "yes", by=by)
        breach.carry_on("planning the notice", "tell_customers")
        asking = breach.look().steps["tell_customers"]
        expect(asking.state is StepState.ASKING, "the notice waits for a second person")
        already = tour.mail()
        expect(
            not any(customer.address in already for customer in tour.centre.customers),
            "no customer is notified before the approval",
        )
        output.print_line(
            f"{counted(customers, 'message')} are ready, and none is sent: a second person"
        )
        output.print_line(f"must approve. {MANAGER} was paged. The demo now approves as {MANAGER}:")
        output.print_command(
            f"standfast incident approve {breach.incident} tell_customers --as {MANAGER}"
        )
        with tour.installation() as installation:
            step_decisions.decide(
                installation, breach.incident, "tell_customers", MANAGER, PASSPHRASES[MANAGER]
            )
        output.print_line(
            f"Approved. The abort window lasts {counted(ABORT_SECONDS, 'second')} (by default two "
            "minutes), then the messages are sent."
        )
        breach.carry_on("notifying customers", "tell_customers")
        mail = tour.mail()
        expect(
            all(mail[customer.address] == 1 for customer in tour.centre.customers),
            "every customer has exactly one mail",
        )
        state = breach.look().steps["tell_customers"]
        expect(state.counts.done == customers, "the ledger counts every customer as notified")
        output.print_line(
            f"{customers:,} customers notified, each exactly once; 0 failed, 0 unknown."
        )
        output.print_line(f"The messages are in {MAILBOX}/new, one file each.")


def unlock_innocent(breach: Breach) -> None:
    """Unlock the accounts that were locked but not used by the intruder."""
    tour, output = breach.tour, breach.tour.output
    innocent = tour.centre.innocent
    with output.chapter(f"{len(innocent)} accounts were locked by mistake: unlock them"):
        names = " ".join(f"--target {DIRECTORY}:{account}" for account in innocent[:1])
        more = f" … ({len(innocent)} in all)" if len(innocent) > 1 else ""
        output.print_command(
            f"standfast incident undo {breach.incident} {names}{more} --as {OPERATOR}"
        )
        with tour.installation() as installation:
            undo = effect_undo.undo(
                installation,
                breach.incident,
                targets=innocent,
                requested_by=step_decisions.authenticated_person(
                    installation, OPERATOR, PASSPHRASES[OPERATOR]
                ),
            )
        expect(
            undo.restores == len(innocent) and not undo.kept,
            "every innocent account can be unlocked",
        )
        breach.carry_on("asking for an approval", undo.step)
        expect(
            tour.locked() == set(tour.centre.taken_over),
            "none is unlocked before a second person approves",
        )
        output.print_command(
            f"standfast incident approve {breach.incident} {undo.step} --as {MANAGER}"
        )
        with tour.installation() as installation:
            step_decisions.decide(
                installation, breach.incident, undo.step, MANAGER, PASSPHRASES[MANAGER]
            )
        breach.carry_on("unlocking", undo.step)
        expect(
            tour.locked() == set(tour.centre.taken_over) - set(innocent),
            "exactly the innocent accounts are active again",
        )
        output.print_line(
            f"{len(innocent)} accounts are in their prior state again; "
            f"{len(tour.locked())} stay locked."
        )


def verify(breach: Breach) -> None:
    """Verify the audit chain, and the rows of the ledger against the chain."""
    tour, output = breach.tour, breach.tour.output
    with output.chapter("Verify the record"):
        output.print_command("standfast audit verify")
        with output.show_progress("verifying"), tour.installation() as installation:
            installation.ledger.audit.sign_head(installation.clock())
            report = installation.ledger.audit.verify()
        expect(report.is_whole, "the record agrees with itself")
        expect(report.witnessed == report.heads > 0, "the witness confirms every signed head")
        output.print_line(
            f"Intact: {report.events:,} events in the audit chain, {report.rows:,} rows agree with "
            f"them, {report.heads} signed heads are confirmed by the witness."
        )


def _all_done(effects: list[EffectRow], count: int) -> bool:
    return len(effects) == count and all(e.state is EffectState.DONE for e in effects)


def _locked_after(breach: Breach) -> str:
    with breach.tour.installation() as installation:
        opened_at = installation.ledger.incidents.get(breach.incident).opened_at
        ends = [
            event.at
            for event in installation.ledger.timeline(breach.incident)
            if event.action == "attempt.ended" and event.detail.get("verb") == "accounts.lock"
        ]
    return duration(max(ends) - opened_at)


def _next(breach: Breach) -> str:
    with breach.tour.installation() as installation:
        return look(installation, breach.incident).summary.next_step
