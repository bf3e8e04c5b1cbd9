"""A real Suricata that reads a capture and appends to an event file."""

import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.servers import find_program, need

PROGRAM = "suricata"
_SETTINGS = "/etc/suricata/suricata.yaml"


@dataclass(frozen=True, kw_only=True)
class Datagram:
    """One UDP packet of a capture."""

    source: str
    target: str
    content: bytes
    source_port: int = 40000


def write_capture(file: Path, datagrams: Sequence[Datagram]) -> None:
    """Write a capture (pcap, Ethernet) of these datagrams, one a second."""
    found = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)]
    for number, one in enumerate(datagrams):
        udp = struct.pack("!HHHH", one.source_port, 5060, 8 + len(one.content), 0) + one.content
        ends = IPv4Address(one.source).packed + IPv4Address(one.target).packed
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0) + ends
        frame = b"\x02" * 6 + b"\x04" * 6 + b"\x08\x00" + ip + udp
        found.append(struct.pack("<IIII", 1_790_000_000 + number, 0, len(frame), len(frame)))
        found.append(frame)
    file.write_bytes(b"".join(found))


def run_suricata(folder: Path, rules: str, datagrams: Sequence[Datagram]) -> Path:
    """Run Suricata on a capture of these datagrams; return its event file."""
    need(PROGRAM, "its alerts are what these tests read; apt-get install suricata")
    program = find_program(PROGRAM)
    assert program is not None
    capture, rule_file, out = folder / "x.pcap", folder / "l.rules", folder / "out"
    write_capture(capture, datagrams)
    rule_file.write_text(rules)
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [program, "-c", _SETTINGS, "-r", capture, "-S", rule_file, "-l", out, "-k", "none"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "eve.json"
