"""New passwords for accounts whose old ones may be known: made here, sealed, never shown.

It owns making one and having it on the disk, sealed, before a connector sets it. To whom it is
sealed and where it lies is the configuration's business; setting it is the connector's.

Rules
- It is written and synced before the directory hears of it. Whatever breaks afterwards, the
  password that holds is in one of the files: every try makes another, and no file is removed.
- Who seals cannot open. A password stands in no receipt, reason, log or exception; its place does.
- A file is named after its effect (`TOKEN-TRY.age`), not after a person. Whose it is stands inside.
"""

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from standfast.errors import Unavailable
from standfast.records import EffectState, Now, Order, Proof, Result, timestamp


@dataclass(frozen=True, kw_only=True)
class NewPassword:
    """A password that is on the disk and not yet set; `place` is its file."""

    secret: str = field(repr=False)
    place: Path


class NewPasswords:
    """Where new passwords are sealed; `seal` encrypts to those who may open them."""

    def __init__(self, folder: Path, seal: Callable[[bytes], bytes], clock: Now) -> None:
        self._folder = folder
        self._seal = seal
        self._clock = clock

    def make(self, directory: str, order: Order) -> NewPassword:
        """Make one for the order's account and seal it; `Unavailable` when it cannot be kept."""
        # Four kinds of letter, since many a rule wants them; none that a shell or an address reads.
        secret = f"{secrets.token_urlsafe(24)}-aA1"
        sealed = self._seal(
            json.dumps(
                {
                    "directory": directory,
                    "account": order.target,
                    "password": secret,
                    "made_at": timestamp(self._clock()),
                },
                ensure_ascii=False,
            ).encode()
        )
        try:
            return NewPassword(secret=secret, place=self._keep(order.token, sealed))
        except OSError as error:
            raise Unavailable(
                f"a new password could not be kept in {self._folder}, so none was set: "
                f"{error.strerror}"
            ) from None

    def _keep(self, token: str, sealed: bytes) -> Path:
        """Write it beside those of earlier tries, and give its path once it would outlive us."""
        _make_private(self._folder)
        for number in count(1):
            path = self._folder / f"{token}-{number}.age"
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            break
        with os.fdopen(file, "wb") as sink:
            sink.write(sealed)
            sink.flush()
            os.fsync(sink.fileno())
        _sync(self._folder)
        return path


def _make_private(folder: Path) -> None:
    """Make a folder and each missing one above it, of mode 0700 and there after the power went."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rotated(order: Order, new: NewPassword, proof: Proof = Proof.NONE) -> Result:
    """The new password is set, and the old one is useless."""
    return Result(
        target=order.target,
        state=EffectState.DONE,
        reason=f"the new password is sealed in {new.place}",
        facts={"changed": True, "sealed_in": str(new.place)},
        proof=proof,
    )
