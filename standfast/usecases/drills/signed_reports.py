"""Signed and chained reports of drills, recoveries; signature in a page.

A drill is a test restore. Each report contains the hash of the report before it, so that a removed
report of a failed drill is detected.

Rules
- A report is one line of canonical JSON in the file `NNNNNN-<run>.json`, which is created once and
  never changed. The line contains the report, the public key, and an Ed25519 signature over a fixed
  prefix and the canonical form of the report.
- The hash is the SHA-256 of the preceding file. If a report is changed, removed or inserted, the
  hash in the next report does not match. The ledger (the installation's database) stores the hashes
  of all reports. Therefore the removal of the last report is detected too.
- Each machine has its own chain of reports, even if several machines share a ledger.
- A report can be written as an HTML page. The last line of the page contains the report, and a
  signature over page and report. Thus the page can be verified without the report's file.
"""

import base64
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standfast.continuity.control_mapping import CLAUSES
from standfast.errors import StandfastError
from standfast.records import Json, canonical

_CONTEXT = b"standfast drill report v1\n"
_PAGE_CONTEXT = b"standfast report page v1\n"
FORMAT = "standfast drill report v1"
FIRST = "0" * 64
_NAME = re.compile(r"(\d{6})-[0-9a-f]+\.json")


@dataclass(frozen=True, kw_only=True)
class Filed:
    """The file of a report that was signed and chained."""

    path: Path
    digest: str  # SHA-256 of the file; the next report and the ledger store it


@dataclass(frozen=True, kw_only=True)
class ReportProblem:
    """A report that does not match its chain, its signature or the ledger."""

    where: str
    problem: str


def file_report(folder: Path, run: str, body: Mapping[str, Json], key: Ed25519PrivateKey) -> Filed:
    """Sign a report and the hash of the last report; write them to a file.

    A lock ensures that concurrent reports get different numbers.
    """
    try:
        with _chain(folder):
            last = _files(folder)[-1:]
            number = int(last[0].name[:6]) + 1 if last else 1
            previous = _digest(last[0].read_bytes()) if last else FIRST
            report: dict[str, Json] = {
                "format": FORMAT,
                "number": number,
                "previous": previous,
                "controls": [clause.name for clause in CLAUSES],
                **body,
            }
            content = (
                canonical(
                    {
                        "report": report,
                        "key": key.public_key().public_bytes_raw().hex(),
                        "signature": key.sign(_CONTEXT + canonical(report)).hex(),
                    }
                )
                + b"\n"
            )
            path = folder / f"{number:06}-{run}.json"
            _create(path, content)
    except OSError as error:
        raise StandfastError(
            f"drill report in {folder}: cannot be written: {error.strerror}. Repair the disk, then "
            "drill again."
        ) from error
    return Filed(path=path, digest=_digest(content))


def check_reports(
    folder: Path,
    key: Ed25519PrivateKey,
    known: Mapping[str, str],
    elsewhere: Collection[str] = (),
) -> tuple[ReportProblem, ...]:
    """Check every report and the chain.

    `known` contains the SHA-256 of each report in the ledger, by run. `elsewhere` contains the runs
    of other machines. Their reports may be missing here, because each machine has its own chain. If
    another machine uses the same folder, its reports are checked too.
    """
    problems: list[ReportProblem] = []
    previous, expected, seen = FIRST, 1, set()
    for path in _files(folder):
        content = path.read_bytes()
        digest = _digest(content)
        run = path.stem.partition("-")[2]
        seen.add(run)
        problems.extend(
            ReportProblem(where=path.name, problem=problem)
            for problem in _problems_of(content, path, previous, expected, key)
        )
        if known.get(run, digest) != digest:
            problems.append(
                ReportProblem(where=path.name, problem="not the report that the ledger recorded")
            )
        previous, expected = digest, int(path.name[:6]) + 1
    problems.extend(
        ReportProblem(where=f"run {run}", problem="its report is missing")
        for run in known
        if run not in seen and run not in elsewhere
    )
    return tuple(problems)


def read_reports(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield all readable reports, newest first, without checking them."""
    for path in reversed(_files(folder)):
        with suppress(ValueError, KeyError, TypeError):
            yield path, dict(json.loads(path.read_bytes())["report"])


def signed_page(page: str, report: bytes, key: Ed25519PrivateKey) -> str:
    """Append a line to a page: the report, and a signature over both."""
    page = page.rstrip("\n") + "\n"
    hashes: dict[str, Json] = {"page": _digest(page.encode()), "report": _digest(report)}
    proof = canonical(
        {
            **hashes,
            "content": report.decode(),
            "signature": key.sign(_PAGE_CONTEXT + canonical(hashes)).hex(),
        }
    )
    return f"{page}<!-- standfast-report {base64.b64encode(proof).decode()} -->\n"


def _problems_of(
    content: bytes, path: Path, previous: str, expected: int, key: Ed25519PrivateKey
) -> Iterator[str]:
    try:
        signed: dict[str, Any] = json.loads(content)
        report, number = signed["report"], signed["report"]["number"]
        key.public_key().verify(bytes.fromhex(signed["signature"]), _CONTEXT + canonical(report))
    except (ValueError, KeyError, TypeError):
        yield "not a report"
        return
    except InvalidSignature:
        yield "invalid signature: the report was changed, or another key signed it"
        return
    if number != expected or not path.name.startswith(f"{number:06}-"):
        yield f"report {expected} is missing before it"
    if report["previous"] != previous:
        yield "it does not follow the report before it"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if _NAME.fullmatch(path.name))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _chain(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _create(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)  # fails if the file exists; `rename` would replace it
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
