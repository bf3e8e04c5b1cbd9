"""Flow that verifies the vault without a key: its history, or every byte.

The vault is the store of the encrypted backups. The witness, a file on this host, has the newest
sequence number of each backup host at the last verification.
"""

from prefect import flow, task
from prefect.client.schemas.objects import State

from flows.flow_states import as_flow, run_to_state
from standfast.errors import ExitStatus
from standfast.usecases.backups.verification import verify
from standfast.usecases.core.installation import Installation


@flow(
    name="daily-verification",
    flow_run_name="daily-verification",
    persist_result=False,
    validate_parameters=False,
)
def daily_verification(config: str, read: bool = False) -> State[None]:
    """Verify the vault; `read` reads every byte of it."""
    return as_flow(check(config, read, return_state=True))


@task(name="verify", persist_result=False)
def check(config: str, read: bool) -> State[None]:
    """Verify once, and compare with the witness."""

    def work(installation: Installation) -> tuple[ExitStatus, str]:
        outcome = verify(installation, read, way="prefect")
        report = outcome.report
        errors = sum(finding.severity == "error" for finding in outcome.findings)
        still = "" if outcome.open_damage is None else ", and damage found before is open"
        locks = "" if report.locks is None else f"; {report.locks.sentence}"
        unrecorded = (
            f"; not in the ledger: {outcome.ledger_problem}" if outcome.ledger_problem else ""
        )
        return outcome.exit_status, (
            f"run {outcome.run}: {report.points} points, {report.packs} packs, "
            f"{report.bytes_read} bytes read, {errors} errors{still}{locks}{unrecorded}"
        )

    return run_to_state(config, work, needs_ledger=False)
