"""Check of all parts of an installation.

Rules
- Nothing is sent, locked, collected as evidence or backed up. Only the newest events of the audit
  chain are verified. The only change is a new signature of the newest event.
- If one part fails, the other parts are still checked. Only an invalid configuration ends the
  check.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from standfast.adapters.evidence_sources import Custody
from standfast.adapters.factory import Adapters
from standfast.adapters.factory.live_adapters import Live
from standfast.config import Config, load
from standfast.errors import Damaged, StandfastError
from standfast.ledger import Ledger, open_ledger
from standfast.ledger.runs.server_clock import ServerClock
from standfast.playbook.planned_effects import FrozenNotice
from standfast.plurals import counted
from standfast.records import Mode, Now
from standfast.secrets import Resolver, SystemResolver
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import ledger_url, os_user, system_clock
from standfast.usecases.health import (
    adapter_checks,
    backup_checks,
    local_checks,
    monitoring_checks,
    on_call_checks,
    recovery_checks,
    role_and_deadline_checks,
    trigger_checks,
)
from standfast.usecases.health.check_results import Check, CheckInputs, Report, Verdict, ok


def check_installation(
    config_file: Path,
    *,
    env: Mapping[str, str],
    clock: Now = system_clock,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check every part; raise FileInvalid for an invalid configuration.

    `progress` is called with the number of checked parts and the number of all parts.
    """
    config = load(config_file)
    resolver = SystemResolver(env=env, base_dir=config.folder)
    checks = [
        ok("configuration", f"{config_file}: {counted(len(config.backup.sets), 'backup set')}")
    ]
    server = ServerClock(clock)
    with ExitStack() as stack:
        ledger: Ledger | None = None
        try:
            url = ledger_url(config, resolver)
            ledger = stack.enter_context(
                open_ledger(url, config.ledger.keys, config.ledger.witness, server)
            )
        except StandfastError as error:
            checks.append(_failed("ledger", error))
        inputs = CheckInputs(
            config=config,
            resolver=resolver,
            clock=server,
            ledger=ledger,
            adapters=stack.enter_context(closing(_reader(config, resolver, server))),
        )
        looks = {
            **local_checks.CHECKS,
            **backup_checks.CHECKS,
            **recovery_checks.CHECKS,
            **adapter_checks.CHECKS,
            **role_and_deadline_checks.CHECKS,
            **trigger_checks.CHECKS,
            **on_call_checks.CHECKS,
            **monitoring_checks.CHECKS,
        }
        for done, (part, look) in enumerate(looks.items()):
            if progress:
                progress(done, len(looks))
            checks += check_part(part, partial(look, inputs))
    return Report(checks=tuple(checks))


def _reader(config: Config, resolver: Resolver, clock: Now) -> Adapters:
    custody = Custody(
        incident="check",
        collector=os_user(),
        reason="check",
        folder=config.custody.folder / "check",
    )
    return Live(config, custody, _no_notice, mode=Mode.PLAN, resolver=resolver, clock=clock)


def _no_notice(incident: str, step: str, round_: int) -> FrozenNotice:
    raise StandfastError(f"a check sends nothing: {incident} {step} {round_}")


def check_part(part: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """Return the results of one check; an error becomes a failed result."""
    try:
        with translated_errors(f"checking {part}"):
            return list(look())
    except StandfastError as error:
        return [_failed(part, error)]


def _failed(part: str, error: StandfastError) -> Check:
    return Check(
        part=part, verdict=Verdict.FAIL, found=str(error), is_damage=isinstance(error, Damaged)
    )
