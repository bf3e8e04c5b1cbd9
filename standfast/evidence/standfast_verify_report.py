#!/usr/bin/env python3
"""Verify a drill or recovery report, offline and without Standfast.

You need Python 3.11 or newer, this file, and:
    python3 -m venv look && look/bin/pip install cryptography
    look/bin/python standfast_verify_report.py REPORT --ledger-key HEX --previous FILE
REPORT and --previous are pages (HTML) or signed reports (JSON). A page has its signed report in its
last line. The key has 64 hex digits: obtain it over another channel than the report. --previous is
the report with the preceding number; report 1 has none. Nothing is changed.
Exit status: 0 no difference, all checks made; 2 wrong use; 3 no difference, some checks were not
possible; 6 something differs.
"""

import argparse
import hashlib
import json
import re
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT, FIRST = "standfast drill report v1", "0" * 64
CONTEXT, PAGE_CONTEXT = FORMAT.encode() + b"\n", b"standfast report page v1\n"
LAST_LINE = re.compile(rb"<!-- standfast-report ([A-Za-z0-9+/=]+) -->\n")
KEYS, PROOF_KEYS = {"report", "key", "signature"}, {"page", "report", "content", "signature"}


class Differs(Exception):
    """Something differs from what was signed."""


def need(condition: object, otherwise: str) -> None:
    if not condition:
        raise Differs(otherwise)


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 form of a value (no fractions, keys in ASCII)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def need_signed(key: str, signature: str, text: bytes, otherwise: str) -> None:
    need(signature == signature.lower(), otherwise)  # accept only one spelling of a signature
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            bytes.fromhex(signature), text
        )
    except InvalidSignature:
        raise Differs(otherwise) from None


def opened_report(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the signed report of a file, and its bytes; verify both.

    A page must be the one that was signed together with its report.
    """
    content, proof = raw, None
    if not raw.startswith(b"{"):
        start = raw.rfind(b"\n", 0, -1) + 1
        last_line = LAST_LINE.fullmatch(raw[start:])
        need(last_line, "its last line has no signed report: it was cut, or is another page")
        encoded = b64decode(last_line[1] if last_line else b"", validate=True)
        proof = json.loads(encoded)
        need(proof.keys() == PROOF_KEYS and canonical(proof) == encoded, "its last line is invalid")
        content = proof["content"].encode()
        need(sha256(content) == proof["report"], "its report is not the one that was signed")
        need(sha256(raw[:start]) == proof["page"], "the page was changed after it was signed")
    signed = json.loads(content)
    is_ours = signed.keys() == KEYS and canonical(signed) + b"\n" == content
    need(is_ours and signed["report"]["format"] == FORMAT, "it is not a report of a drill")
    otherwise = "the signature of the report does not verify: the report was changed"
    need_signed(
        signed["key"], signed["signature"], CONTEXT + canonical(signed["report"]), otherwise
    )
    if proof is not None:
        hashes = {name: proof[name] for name in ("page", "report")}
        otherwise = (
            "the signature of the page does not verify: page and report do not belong together"
        )
        need_signed(signed["key"], proof["signature"], PAGE_CONTEXT + canonical(hashes), otherwise)
    return signed, content


def verify(raw: bytes, key: str, previous: bytes | None) -> tuple[list[str], list[str]]:
    """Return the findings, and the checks that were not possible."""
    signed, content = opened_report(raw)
    report, unchecked = signed["report"], list[str]()
    need(key in ("", signed["key"]), "it is signed by another key")
    kind = report.get("kind", "drill")
    lines = [
        f"{kind} of {report['set']}, declared {report['declared_at']}: {report['result']}",
        f"report {report['number']}, SHA-256 {sha256(content)}, signed by {signed['key']}",
        "its page is the one that was signed with it" if raw != content else "it has no page",
        *(f"gap, {gap['owner']}, due {gap['due']}: {gap['gap']}" for gap in report.get("gaps", ())),
    ]
    if not key:
        unchecked.append("without --ledger-key: whether this installation signed the report")
    if report["number"] == 1:
        need(report["previous"] == FIRST, "it is the first report, and names one before it")
    elif previous is None:
        unchecked.append(f"without --previous: whether it follows report {report['number'] - 1}")
    else:
        before, before_content = opened_report(previous)
        follows = report["previous"] == sha256(before_content)
        is_next = before["report"]["number"] + 1 == report["number"]
        need(follows and is_next, "it does not follow the report of --previous")
        need(before["key"] == signed["key"], "another key signed the report of --previous")
        lines.append(f"it follows report {report['number'] - 1}")
    return lines, unchecked


def main(arguments: list[str] | None = None) -> int:
    shown: Any = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shown)
    parser.add_argument("report", type=Path)
    parser.add_argument("--ledger-key", type=str.lower, default="", metavar="HEX")
    parser.add_argument("--previous", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")
    given = parser.parse_args(arguments)
    if given.ledger_key and not re.fullmatch("[0-9a-f]{64}", given.ledger_key):
        parser.error("a key is 64 hexadecimal digits")
    try:
        raw = given.report.read_bytes()
        previous = given.previous.read_bytes() if given.previous else None
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    lines, unchecked, problem = list[str](), list[str](), ""
    try:
        lines, unchecked = verify(raw, given.ledger_key, previous)
    except Differs as error:
        problem = str(error)
    except Exception as error:  # malformed bytes may raise any error
        problem = f"it cannot be read as a report ({type(error).__name__})"
    status = 6 if problem else 3 if unchecked else 0
    if given.json:
        problems = [problem] if problem else []
        found = {"problems": problems, "unchecked": unchecked, "report": lines}
        print(json.dumps({"is_whole": status != 6, **found, "exit_status": status}))
        return status
    lines.append(f"{given.report}: {f'DIFFERS: {problem}' if problem else 'agrees'}")
    for line in [*lines, *(f"not checked, {why}" for why in unchecked)]:
        print("".join(c if c.isprintable() else "?" for c in line))
    return status


if __name__ == "__main__":
    sys.exit(main())
