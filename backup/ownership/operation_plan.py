"""Plan of an owner operation: stored before its first step; resumption.

- An owner operation is an act that the owner of a repository signs, such as the authorization of a
  host.
- The plan contains every byte that its steps write. It is stored in a private file before the first
  step. If an operation is interrupted, the same request completes it: steps that are done already
  have no further effect, and the other steps write the planned bytes.
- Before the plan is stored, the path of each new file is checked. So if a file cannot be created,
  for example in a mistyped folder, no plan is stored, and the operation can be requested again with
  another path.
- A step creates an object or a file, or removes objects. It never replaces an object or a file. If
  an object or file exists and differs from the plan, the step raises `AlreadyThere`.
- The plan file is removed last. While it exists, no other operation with this owner's key starts.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backup.errors import AlreadyThere, BackupError, Damaged, NotWritable, UsageError
from backup.format.canonical_json import from_json, to_json
from backup.format.strict_fields import Fields, from_base64
from backup.stores import Store, expect_existing
from backup.stores.keeper import KeeperStore
from backup.system.durable_files import check_creatable, create_file, read_file, sync_folder

_MOST_VERSIONS = 1000

Where = Literal["vault", "keys"]
OperationResult = Mapping[str, Any]  # JSON report of an operation, without secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class Put:
    """Creation of an object."""

    where: Where
    name: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Create:
    """Creation of a file with mode 0600."""

    path: Path
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Forget:
    """Removal of encrypted private keys from the key store and its copies."""

    prefix: str
    names: tuple[str, ...] | None = None  # object names; None: all names below the prefix


Step = Put | Create | Forget


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One operation: its request, its steps in order, and its result."""

    operation: str
    request: Mapping[str, str]
    result: OperationResult
    steps: tuple[Step, ...]


def execute_plan(
    plan_file: Path,
    operation: str,
    request: Mapping[str, str],
    make: Callable[[], Plan],
    *,
    vault: Store,
    keys: Store | None,
    forget_in: Sequence[KeeperStore] = (),
) -> OperationResult:
    """Execute an operation, or complete it if it was interrupted.

    `make` returns the plan of a new operation. `forget_in` lists the stores from which a `Forget`
    step removes objects: the key store and every copy of it. Raise `UsageError` if another
    operation is unfinished.
    """
    plan = read_plan(plan_file)
    if plan is None:
        plan = make()
        # Check before storing: a plan with a step that can never succeed blocks all operations.
        for step in plan.steps:
            if isinstance(step, Create):
                check_creatable(step.path, len(step.data))
        create_file(plan_file, to_json(_plan_to_json(plan)))
    elif (plan.operation, dict(plan.request)) != (operation, dict(request)):
        arguments = " ".join(f"{name}={value}" for name, value in sorted(plan.request.items()))
        raise UsageError(
            f"{plan.operation} ({arguments}): it is unfinished. Run it again first."
            f" Its plan is {plan_file}."
        )
    for step in plan.steps:
        _execute_step(step, plan_file, vault, keys, forget_in)
    plan_file.unlink()
    sync_folder(plan_file.parent)
    return plan.result


def read_plan(plan_file: Path) -> Plan | None:
    """Read the plan of an unfinished operation; return None if it is missing."""
    try:
        data = plan_file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotWritable(f"{plan_file}: cannot be read ({error.strerror}). Check it.") from error
    where = str(plan_file)
    fields = Fields(from_json(data, where), where, ("operation", "request", "result", "steps"))
    result, request = fields.raw("result"), fields.raw("request")
    if not isinstance(result, dict) or not isinstance(request, dict):
        raise Damaged(
            f"{where}: not a plan of an owner operation. Check in the "
            "newest root record what the operation has done, then remove this file."
        )
    return Plan(
        operation=fields.text("operation"),
        request=request,
        result=result,
        steps=tuple(_step_from_json(item, where) for item in fields.items("steps")),
    )


def _execute_step(
    step: Step, plan_file: Path, vault: Store, keys: Store | None, forget_in: Sequence[KeeperStore]
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
            raise UsageError("key store: this operation needs it. Name it in the configuration.")


def _put_exactly(store: Store, step: Put, plan_file: Path) -> None:
    try:
        store.put(step.name, step.data)
    except AlreadyThere:
        with expect_existing(step.name):
            stored = store.get(step.name)
        if stored != step.data:
            raise AlreadyThere(
                f"{step.name}: somebody else created it in the meantime; it was not changed. "
                f"Check it, then remove {plan_file} and start again."
            ) from None


def _create_exactly(step: Create) -> None:
    try:
        create_file(step.path, step.data)
    except AlreadyThere:
        if read_file(step.path) != step.data:
            raise AlreadyThere(
                f"{step.path}: a different file already exists; it was not changed. Move it away."
            ) from None


def _forget(store: KeeperStore, step: Forget) -> None:
    # Repeat, because in a store with versions, the removal of a version reveals a later version.
    for _ in range(_MOST_VERSIONS):
        names = _remaining_names(store, step)
        if not names:
            return
        for name in names:
            store.remove(name)
    raise BackupError(
        f"{names[0]}: still in the key store after its removal. Find out who puts it back,"
        " then run this again."
    )


def _remaining_names(store: KeeperStore, step: Forget) -> list[str]:
    return [
        stat.name
        for stat in store.list(step.prefix)
        if step.names is None or stat.name in step.names
    ]


def _plan_to_json(plan: Plan) -> dict[str, object]:
    return {
        "operation": plan.operation,
        "request": dict(plan.request),
        "result": dict(plan.result),
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
        case {"kind": "create", "path": str(path), "data": data} if _is_file_path(path):
            return Create(path=Path(path), data=from_base64(data, where))
        case {"kind": "forget", "prefix": str(prefix), "names": None}:
            return Forget(prefix=prefix)
        case {"kind": "forget", "prefix": str(prefix), "names": [*names]} if all(
            isinstance(name, str) for name in names
        ):
            return Forget(prefix=prefix, names=tuple(names))
    raise Damaged(f"{where}: it contains an invalid step. Check what was done, then remove it.")


def _is_file_path(path: str) -> bool:
    return "\0" not in path and Path(path).name != ""
