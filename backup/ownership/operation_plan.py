"""Plans: a deed of the owner, fixed to the byte before its first step is done.

- A plan is written to a private file first, so a deed that was cut off anywhere is completed by
  asking for it again: each step then finds itself done, or does exactly what was planned.
- Where a file cannot be made (a stick with FAT, a mistyped folder), that is found before the plan
  is fixed, and another place can be named.
- A step creates an object or a file, or removes an object; it never replaces.  What stands in the
  way and is not the plan's own is named in `AlreadyThere`.
- The file goes last.  While it is there no other deed is begun under this owner's key.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backup.errors import AlreadyThere, BackupError, Damaged, NotWritable, UsageError
from backup.format.canonical_json import from_json, to_json
from backup.format.strict_fields import Fields, from_base64
from backup.stores import Store, said_to_be_there
from backup.stores.keeper import KeeperStore
from backup.system.durable_files import check_creatable, create_file, read_file, sync_folder

_MOST_VERSIONS = 1000

Where = Literal["vault", "keys"]
OperationResult = Mapping[str, Any]  # what a deed says about itself: JSON, and no secret in it


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """Create an object."""

    where: Where
    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Create:
    """Create a file of mode 0600."""

    path: Path
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Forget:
    """Remove objects from the key store and from each copy of it; afterwards none is listed."""

    prefix: str
    names: tuple[str, ...] | None = None  # only these; None: everything below the prefix


Step = Put | Create | Forget


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One deed: what was asked for, its steps in order, and what it tells when it is done."""

    deed: str
    request: Mapping[str, str]
    told: OperationResult
    steps: tuple[Step, ...]


def execute_plan(
    plan_file: Path,
    deed: str,
    request: Mapping[str, str],
    make: Callable[[], Plan],
    *,
    vault: Store,
    keys: Store | None,
    forget_in: Sequence[KeeperStore] = (),
) -> OperationResult:
    """Do a deed, or complete the same one that was begun before; `make` plans it.

    `forget_in` are the key store and every copy of it.  `UsageError` when another deed is
    unfinished.
    """
    plan = read_plan(plan_file)
    if plan is None:
        plan = make()
        for step in plan.steps:  # one that can never be done would bar every other deed
            if isinstance(step, Create):
                check_creatable(step.path, len(step.data))
        create_file(plan_file, to_json(_plan_to_json(plan)))
    elif (plan.deed, dict(plan.request)) != (deed, dict(request)):
        asked = " ".join(f"{name}={value}" for name, value in sorted(plan.request.items()))
        raise UsageError(
            f"{plan.deed} ({asked}) was begun and is unfinished: run that again first."
            f" It stands in {plan_file}"
        )
    for step in plan.steps:
        _do(step, plan_file, vault, keys, forget_in)
    plan_file.unlink()
    sync_folder(plan_file.parent)
    return plan.told


def read_plan(plan_file: Path) -> Plan | None:
    """Read an unfinished deed; None when there is none."""
    try:
        data = plan_file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotWritable(f"{plan_file} cannot be read: {error.strerror}") from error
    where = str(plan_file)
    fields = Fields(from_json(data, where), where, ("deed", "request", "told", "steps"))
    told, request = fields.raw("told"), fields.raw("request")
    if not isinstance(told, dict) or not isinstance(request, dict):
        raise Damaged(f"{where} holds no plan; remove it, and look at what was done")
    return Plan(
        deed=fields.text("deed"),
        request=request,
        told=told,
        steps=tuple(_step_from_json(item, where) for item in fields.items("steps")),
    )


def _do(
    step: Step,
    plan_file: Path,
    vault: Store,
    keys: Store | None,
    forget_in: Sequence[KeeperStore],
) -> None:
    match step:
        case Put(where="vault"):
            _put_exactly(vault, step, plan_file)
        case Put() if keys is not None:
            _put_exactly(keys, step, plan_file)
        case Create():
            _create_exactly(step)
        case Forget() if forget_in:
            for store in forget_in:
                _forget(store, step)
        case _:
            raise UsageError("this deed needs the key store; name it")


def _put_exactly(store: Store, step: Put, plan_file: Path) -> None:
    try:
        store.put(step.name, step.data)
    except AlreadyThere:
        with said_to_be_there(step.name):
            there = store.get(step.name)
        if there != step.data:
            raise AlreadyThere(
                f"{step.name} was made by someone else meanwhile, and was not changed. Look at what"
                f" is there; then remove {plan_file} and begin again"
            ) from None


def _create_exactly(step: Create) -> None:
    try:
        create_file(step.path, step.data)
    except AlreadyThere:
        if read_file(step.path) != step.data:
            raise AlreadyThere(
                f"{step.path} is already there and is another one; it was not changed"
            ) from None


def _forget(store: KeeperStore, step: Forget) -> None:
    # What was laid over a name shows once the version above it is gone.
    for _ in range(_MOST_VERSIONS):
        left = _still_there(store, step)
        if not left:
            return
        for name in left:
            store.remove(name)
    raise BackupError(
        f"{left[0]} is still in the key store although it was removed: see that nobody puts it"
        " back, then run this again"
    )


def _still_there(store: KeeperStore, step: Forget) -> list[str]:
    return [
        stat.name
        for stat in store.list(step.prefix)
        if step.names is None or stat.name in step.names
    ]


def _plan_to_json(plan: Plan) -> dict[str, object]:
    return {
        "deed": plan.deed,
        "request": dict(plan.request),
        "told": dict(plan.told),
        "steps": [_step_to_json(step) for step in plan.steps],
    }


def _step_to_json(step: Step) -> dict[str, object]:
    match step:
        case Put():
            data = base64.b64encode(step.data).decode()
            return {"kind": "put", "where": step.where, "name": step.name, "data": data}
        case Create():
            data = base64.b64encode(step.data).decode()
            return {"kind": "create", "path": str(step.path), "data": data}
        case Forget():
            names = None if step.names is None else list(step.names)
            return {"kind": "forget", "prefix": step.prefix, "names": names}


def _step_from_json(value: object, where: str) -> Step:
    match value:
        case {"kind": "put", "where": "vault" | "keys" as store, "name": str(name), "data": data}:
            return Put(where=store, name=name, data=from_base64(data, where))
        case {"kind": "create", "path": str(path), "data": data} if _names_a_file(path):
            return Create(path=Path(path), data=from_base64(data, where))
        case {"kind": "forget", "prefix": str(prefix), "names": None}:
            return Forget(prefix=prefix)
        case {"kind": "forget", "prefix": str(prefix), "names": [*names]} if all(
            isinstance(name, str) for name in names
        ):
            return Forget(prefix=prefix, names=tuple(names))
    raise Damaged(f"{where} holds a step that no plan has; remove it, and look at what was done")


def _names_a_file(path: str) -> bool:
    return "\0" not in path and Path(path).name != ""
