"""Hooks of a backup set: commands before and after its sources are read.

Rules
- A hook runs a command of `[commands]` with fixed arguments, without a shell, with only the
  configured environment variables, and with a time limit.
- `before` hooks run after the backup has locked the upload cache (the local list of uploaded data).
  The backup waits for this lock while another set of the host is backed up. If a `before` hook
  stops an application, the application is therefore not stopped during this wait.
- If the store does not answer, and the backup is attempted again, the `before` hooks run again.
- If a `before` hook has begun, the `after` hooks run, even after a failure. Their environment
  contains the result of the backup.
- A required `before` hook that fails stops the backup. A required `after` hook that fails makes the
  result of the backup partial. A failed hook that is not required changes nothing. The results of
  all hooks are recorded in the ledger (the database of runs), without their output.
- If a hook fails, the beginning of its output is logged, without secrets.
- If this process is killed, `after` hooks do not run. A `before` hook must therefore work even if
  the `after` hooks of an earlier run did not run.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from backup.records import BackupResult
from standfast.adapters.procedures.command import Command
from standfast.config.sections.backup import HookConfig
from standfast.errors import StandfastError
from standfast.records import EffectState, Json, Order
from standfast.usecases.core.backup_repository import set_of
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import Run

BEFORE, AFTER = "before", "after"
_MOST_LOGGED = 2000  # characters of output

log = logging.getLogger("standfast.backup")


@dataclass(frozen=True, kw_only=True)
class HookResult:
    """The result of one hook; `problem` is "" if it succeeded."""

    moment: str  # BEFORE or AFTER
    command: str
    is_required: bool
    problem: str

    def as_json(self) -> dict[str, Json]:
        """Return the JSON form, which the ledger stores too."""
        return {
            "moment": self.moment,
            "command": self.command,
            "is_required": self.is_required,
            "problem": self.problem,
        }


@dataclass(kw_only=True)
class SetHooks:
    """The hooks of one backup of a set, and their results so far.

    Each attempt of the backup runs in the `with` block of `attempt`. In this block, the caller must
    call `before`, and set `backup` after a recovery point was made.
    """

    installation: Installation
    set_name: str
    run: Run
    results: list[HookResult] = field(default_factory=list)
    backup: BackupResult | None = None
    _has_begun: bool = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Run the `after` hooks at the end of the block, if `before` hooks began."""
        self._has_begun = False
        try:
            yield
        finally:
            if self._has_begun:
                self._run_all(AFTER, set_of(self.installation, self.set_name).after)
            if self.results:
                self.run.summary["hooks"] = [result.as_json() for result in self.results]

    def before(self) -> None:
        """Run the hooks before the backup, once in each attempt.

        Raise StandfastError if a required hook fails.
        """
        if self._has_begun:
            return  # the same attempt begins again, because the upload cache was damaged
        self._has_begun = True
        self._run_all(BEFORE, set_of(self.installation, self.set_name).before)

    def _run_all(self, moment: str, hooks: Sequence[HookConfig]) -> None:
        for hook in hooks:
            problem = self._run(moment, hook)
            self.results.append(
                HookResult(
                    moment=moment,
                    command=hook.command,
                    is_required=hook.is_required,
                    problem=problem,
                )
            )
            if problem and hook.is_required and moment == BEFORE:
                raise StandfastError(
                    f"backup of {self.set_name}: its hook {hook.command} failed: {problem}. "
                    "Correct the command, or set is_required = false."
                )

    def _run(self, moment: str, hook: HookConfig) -> str:
        """Run one hook; return the reason if it failed, else ""."""
        settings = self.installation.config.commands[hook.command]
        variables = {"STANDFAST_SET": self.set_name, "STANDFAST_RUN": self.run.token}
        if moment == AFTER:
            variables |= self._outcome()
        resolver = self.installation.resolver
        try:
            command = Command(
                f"commands.{hook.command}",
                settings.model_copy(update={"environment": {**settings.environment, **variables}}),
                reveal=lambda reference: resolver.resolve(reference).reveal(),
            )
        except StandfastError as error:
            problem, output = str(error), ""
        else:
            order = Order(token=self.run.token, verb="run.command", target=self.set_name)
            (result,) = command.run([order])
            problem = "" if result.state is EffectState.DONE else result.reason
            output = str(result.facts.get("output", ""))
        if problem:
            log.warning(
                "%s: the hook %s %s the backup failed: %s\n%s",
                self.set_name,
                hook.command,
                moment,
                problem,
                output[:_MOST_LOGGED],
            )
        return problem

    def _outcome(self) -> dict[str, str]:
        """Return the environment variables with the result, for `after` hooks."""
        if self.backup is None:
            return {"STANDFAST_RESULT": "failed"}
        result = "done" if self.backup.complete else "partial"
        return {"STANDFAST_RESULT": result, "STANDFAST_POINT": self.backup.point}
