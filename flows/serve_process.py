"""Process of `standfast serve`: lock on the machine, log, signals, end."""

import fcntl
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from flows.prefect_supervisor import PrefectSupervisor
from flows.roles import EVERYTHING, ROLES, check_role, role_named
from flows.serve_loop import BeginWork, ServePart, Serving, log
from standfast.config import load
from standfast.errors import ConfigurationError, ExitStatus, Refused
from standfast.secrets import SystemResolver
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.redaction import (
    RedactedJsonLines,
    RedactedLines,
    RedactingResolver,
)
from standfast.usecases.core.run_record import other_user_of
from standfast.usecases.health.readiness_recorder import ReadinessRecorder
from standfast.usecases.setup.installation_opening import open_installation

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_MORE = {True: " with this role", False: "; roles apart need serve.prefect"}


@contextmanager
def _logging_to_stderr(lines: logging.Formatter) -> Iterator[None]:
    """Log only Standfast's lines: lines of libraries may contain an address."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    ours = (log, *(logging.getLogger(f"standfast.{name}") for name in ("ledger", "backup")))
    for logger in ours:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger in ours:
            logger.removeHandler(handler)
            logger.propagate = True


@contextmanager
def _only_one_here(installation: Installation, role_name: str | None) -> Iterator[None]:
    """Lock `serve` on this machine; raise Refused if another process has it.

    Without the lock, two processes would each start a Prefect server in the same folder, and back
    up everything twice. If several hosts share a Prefect, each role (part of the work, see `roles`)
    has its own lock and process. The kernel releases a lock when its process ends. Root is refused
    if another user owns the installation, because this user could not read the files that root
    creates.
    """
    user = other_user_of(installation.config) if os.geteuid() == 0 else None
    if user is not None:
        raise Refused(
            f"installation: it belongs to the user {user}, who could not read files of root. Run "
            f"this as that user: put `sudo -u {user}` before it."
        )
    home = installation.config.serve.prefect_home
    is_site = installation.config.serve.prefect is not None
    taken = [name for name in ROLES if name != "all"]
    if is_site and role_named(role_name) is not EVERYTHING:
        taken = [str(role_name)]
    with ExitStack() as locks:
        for name in taken:
            try:
                home.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(home / f"serve-{name}.lock", _LOCK_FLAGS, 0o600)
                locks.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"`standfast serve`: it runs on this machine already{_MORE[is_site]}. See "
                    "`standfast status`."
                ) from None
            except OSError as error:
                raise ConfigurationError(
                    f"folder {home}: cannot be written: {error.strerror}. Correct "
                    "serve.prefect_home."
                ) from None
        yield


def serve(
    config_file: Path,
    *,
    env: Mapping[str, str] | None = None,
    role_name: str | None = None,
    parts_of: Callable[
        [Installation, BeginWork], Sequence[ServePart]
    ] = lambda installation, begin_work: (),
) -> int:
    """Serve in the main thread until SIGTERM or SIGINT, then end the process.

    `parts_of` returns the parts that run next to the loop, such as an HTTP server. Its second
    argument is the function that these parts call with each incident that they open. With
    `role_name`, only the work of that role is done. The function ends the process itself, with
    status 0, because at an ordinary exit Prefect's threads would wait for their server, which may
    be gone. Raise ConfigurationError if the configuration lacks a setting that the role needs, and
    Refused if another process serves this installation on this machine.
    """
    env = os.environ if env is None else env
    config = load(config_file)
    role = role_named(role_name)
    check_role(role, config)
    secrets = RedactingResolver(resolver=SystemResolver(env=env, base_dir=config.folder))
    formats = {"text": RedactedLines, "json": RedactedJsonLines}
    with (
        _logging_to_stderr(formats[config.serve.log_format](secrets)),
        open_installation(config_file, env=env, resolver=secrets) as installation,
        _only_one_here(installation, role_name),
    ):
        prefect = PrefectSupervisor(
            config_file=config_file.absolute(),
            home=installation.config.serve.prefect_home,
            url=installation.config.serve.prefect,
            env=env,
            role_name=role_name,
        )
        serving = Serving(
            installation=installation,
            config_file=config_file.absolute(),
            prefect=prefect if role.is_scheduled or role.responds else None,
            role=role,
        )
        recorder = ReadinessRecorder(
            installation=installation, config_file=config_file.absolute(), env=env
        )
        serving.parts = (
            *parts_of(installation, serving.begin_work),
            *((recorder,) if role.responds else ()),
        )

        def end(number: int, frame: FrameType | None) -> None:
            serving.stop.set()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        serving.run()
        log.info("ended")  # Standfast's handler writes at once; Prefect's would wait for its server
    os._exit(ExitStatus.DONE)
