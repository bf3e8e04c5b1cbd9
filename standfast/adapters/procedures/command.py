"""A configured command without a shell: its arguments and environment.

This module starts the process with its arguments, environment and user, and ends it.

Rules
- The arguments are a list with places for parameters; no shell interprets them.
- The environment has PATH, LANG, the token of the order (the same in every attempt) as
  STANDFAST_TOKEN, and the variables that the configuration names. No other variable of this process
  is passed on.
- The command runs under `timeout` of coreutils, so that it ends at its time limit even if this
  process has died. Afterwards it can change nothing, and its outcome can be looked up.
- If the status is in `succeeds_with`, the result is DONE, otherwise FAILED. The result of a command
  that was cut off, killed or not observed to its end is UNKNOWN. A command that was not started is
  FAILED.
- For `observe`, status 0 means in effect, and 1 means not in effect. After any other status the
  check must be repeated.
"""

import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.captured_output import READ_BYTES, kept_text
from standfast.adapters.procedures.parameters import check_templates, fill, places, read_parameters
from standfast.config.sections.procedures import CommandConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, JsonObject, Limits, Order, Result
from standfast.secrets import Reveal

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT = "/usr/bin/timeout"
_KILL_AFTER_SECONDS = 1
_CUT_OFF = (124, 137)  # the status of `timeout` after it ended, or killed, the command
_NOT_STARTED = (125, 126, 127)  # `timeout` itself failed, or the program cannot be run
_TOKEN = "STANDFAST_TOKEN"  # noqa: S105 - the name of a variable


class Command(Procedure):
    """One command; the constructor checks its templates and runs nothing."""

    def __init__(self, name: str, settings: CommandConfig, *, reveal: Reveal) -> None:
        self.name = name
        self._settings = settings
        self._secrets = {key: reveal(secret) for key, secret in settings.secrets.items()}
        for argv in (settings.argv, settings.observe, settings.undo):
            if argv and places(argv[0]):
                raise ConfigurationError(f"{name}: the program itself cannot be a parameter")
            check_templates(name, argv, settings.parameters)
        self._refuse_option_like_numbers()
        self.can_observe = bool(settings.observe)
        self.can_undo = bool(settings.undo)
        self.changes_nothing = settings.changes_nothing
        self.limits = Limits(
            batch=1,
            workers=settings.workers,
            timeout_seconds=settings.timeout_seconds + _KILL_AFTER_SECONDS + 1.0,
        )

    def fit(self, details: JsonObject) -> None:
        read_parameters(self.name, self._settings.parameters, details)

    def _is_in_effect(self, order: Order) -> bool | None:
        status, _ = self._run_to_end(self._settings.observe, order)
        if status in (0, 1):
            return status == 0
        raise Unavailable(f"{self.name}: the check ended with {_status(status)}")

    def _run(self, order: Order) -> Result:
        return self._execute(self._settings.argv, order)

    def _undo(self, order: Order) -> Result:
        return self._execute(self._settings.undo, order)

    def _execute(self, argv: Sequence[str], order: Order) -> Result:
        try:
            status, output = self._run_to_end(argv, order)
        except _NotStarted as error:
            return Result(target=order.target, state=EffectState.FAILED, reason=str(error))
        facts: JsonObject = {"exit_status": status, "output": output}
        if status in self._settings.succeeds_with:
            return Result(target=order.target, state=EffectState.DONE, facts=facts)
        is_in_doubt = status < 0 or status in _CUT_OFF
        reason = f"ended with {_status(status)}"
        if status in _NOT_STARTED:
            reason = f"{reason}: the program cannot be run. Check its path and mode."
        return Result(
            target=order.target,
            state=EffectState.UNKNOWN if is_in_doubt else EffectState.FAILED,
            reason=reason,
            facts=facts,
        )

    def _run_to_end(self, argv: Sequence[str], order: Order) -> tuple[int, str]:
        """Run a command to its end; return its status and its output."""
        settings = self._settings
        values = read_parameters(self.name, settings.parameters, order.details)
        bound = [
            _TIMEOUT,
            f"--kill-after={_KILL_AFTER_SECONDS}",
            "--",
            str(settings.timeout_seconds),
        ]
        identity = self._identity()
        try:
            process = subprocess.Popen(
                [*bound, *(fill(part, values) for part in argv)],
                cwd="/",
                env={
                    "PATH": _PATH,
                    "LANG": "C.UTF-8",
                    _TOKEN: order.token,
                    **settings.environment,
                    **self._secrets,
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=identity[0] if identity else None,
                group=identity[1] if identity else None,
                extra_groups=[] if identity else None,
            )
        except OSError as error:
            raise _NotStarted(f"cannot be started: {error.strerror}") from None
        reader = _Reader(process.stdout)
        try:
            status = process.wait(self.limits.timeout_seconds)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        # A child process of the command may still keep the pipe open; do not wait for it.
        return status, self._kept_output(reader)

    def _kept_output(self, reader: "_Reader") -> str:
        data, left_out = reader.read()
        return kept_text(data, self._secrets.values(), left_out)

    def _identity(self) -> tuple[int, int] | None:
        """Return the user and group to run as; None for those of this process."""
        user = self._settings.user
        if user is None:
            return None
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            raise _NotStarted(f"user {user!r}: not on this machine. Correct `user`.") from None
        return entry.pw_uid, entry.pw_gid

    def _refuse_option_like_numbers(self) -> None:
        """Reject a number parameter that is a whole argument.

        A negative number begins with a hyphen, so a program could read it as an option.
        """
        for part in (*self._settings.argv, *self._settings.observe, *self._settings.undo):
            for place in places(part):
                is_number = self._settings.parameters[place].type == "number"
                if is_number and part == f"{{{place}}}":
                    raise ConfigurationError(
                        f"{self.name}: a number as a whole argument could be read as an option; "
                        f"write it as --name={{{place}}}"
                    )


class _NotStarted(Unavailable):
    """The program was certainly not started."""


class _Reader:
    """Thread that reads a pipe to its end and keeps the first part."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self._kept_output = bytearray()
        self._left_out = 0
        self._pipe = pipe
        self._thread = threading.Thread(target=self._drain, name="command-output", daemon=True)
        self._thread.start()

    def read(self) -> tuple[bytes, int]:
        self._thread.join(_KILL_AFTER_SECONDS)
        return bytes(self._kept_output), self._left_out

    def _drain(self) -> None:
        if self._pipe is None:
            return
        with self._pipe as pipe:
            while chunk := os.read(pipe.fileno(), 65_536):
                room = READ_BYTES - len(self._kept_output)
                self._kept_output += chunk[:room]
                self._left_out += max(0, len(chunk) - room)


def _status(status: int) -> str:
    if status < 0:
        return f"signal {-status}"
    return "its time-out" if status in _CUT_OFF else f"status {status}"
