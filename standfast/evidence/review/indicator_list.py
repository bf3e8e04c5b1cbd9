"""Lists of indicators (also STIX 2.1): reading, match, prefilter of lines.

    indicators = read_indicator_list(path)
    indicators.matches(record)

An indicator is a trace of an intruder that is searched for in logs: an address, a network, a domain
or a hash.

Rules
- A list has one value on each line; `#` begins a comment.
- A STIX bundle is JSON with patterns. A pattern is used if it only compares values with `=` and
  joins comparisons by OR. `not_applied` names each other pattern; no part of it is used.
- Each word of a record is looked up in the list. Therefore a search for 1,000 values takes as long
  as for one value. Case is ignored. A domain also matches its subdomains.
- `LineSearch` is a fast search that excludes most lines. Each line that it returns is then parsed
  and compared with the list.
- Lines are searched in the form in which parsers read them: invalid UTF-8 is escaped, and case is
  ignored.
- JSON can escape a character. Therefore a line with an escaped ASCII character is always returned.
- All values are searched in one pass (Aho-Corasick). Only their first characters are used, so that
  a list of a million values needs only a few hundred MB.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from ahocorasick_rs import BytesAhoCorasick, Implementation

from standfast.errors import UsageError
from standfast.evidence.parsers.log_record import Record
from standfast.evidence.review.log_timeline import Network, in_networks

_LONGEST = 12  # characters of a value that are used for the search
_MOST_OF_DFA = 10_000  # values up to which a DFA is used; it is faster and larger than an NFA
# Escapes in JSON that are an ASCII letter, digit or punctuation after conversion to lower case.
_ESCAPES = (*(f"\\u00{digit}" for digit in range(2, 8)), "\\u0130", "\\u212a")


class LineSearch:
    """Search for any of many values; call it with whole lines."""

    def __init__(self, values: Iterable[str]) -> None:
        texts = {value[:_LONGEST].lower() for value in (*values, *_ESCAPES)}
        is_small = len(texts) <= _MOST_OF_DFA
        self._automaton = BytesAhoCorasick(
            [text.encode() for text in sorted(texts)],
            implementation=Implementation.DFA if is_small else Implementation.ContiguousNFA,
        )

    def __call__(self, lines: bytes) -> Sequence[int]:
        """Return the indexes, from 0, of the lines to parse."""
        if lines.isascii():  # the same result, faster
            text = lines.lower()
        else:
            text = lines.decode("utf-8", "backslashreplace").lower().encode()
        found: list[int] = []
        line, searched = 0, 0
        for _, begin, _ in self._automaton.find_matches_as_indexes(text):
            line += text.count(b"\n", searched, begin)
            searched = begin
            if not found or found[-1] != line:
                found.append(line)
        return found


_LARGEST = 64 * 1024 * 1024
_MOST = 1_000_000
_HASH = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+[a-z][a-z0-9-]{1,62}", re.IGNORECASE)
_WORD = re.compile(r"[0-9A-Za-z_.:-]{4,255}")
_COMPARISON = re.compile(
    r"\s*(?:ipv4-addr:value|ipv6-addr:value|domain-name:value"
    r"|file:hashes\.(?:'[A-Z0-9-]+'|[A-Z0-9]+))\s*=\s*'([^'\\]*)'\s*"
)


@dataclass(kw_only=True)
class IndicatorList:
    """Values to search for."""

    words: set[str] = field(default_factory=set)  # addresses, domains and hashes, in lower case
    networks: list[Network] = field(default_factory=list)
    not_applied: list[str] = field(default_factory=list)  # patterns and lines that cannot be used
    digest: str = ""  # SHA-256 of the list

    def __len__(self) -> int:
        return len(self.words) + len(self.networks)

    def add(self, value: str) -> bool:
        """Add a value; return False if it is not an indicator."""
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            if not (_HASH.fullmatch(value) or _DOMAIN.fullmatch(value)):
                return False
            self.words.add(value.lower())
            return True
        if network.num_addresses == 1:
            self.words.add(str(network.network_address))
        else:
            self.networks.append(network)
        return True

    def matches(self, record: Record) -> Sequence[str]:
        """Return the indicators in a record."""
        found = [word for text in (record.address, record.text) for word in self._in_text(text)]
        if self.networks and in_networks(record.address, self.networks):
            found.append(record.address)
        return list(dict.fromkeys(found))

    def line_search(self) -> LineSearch | None:
        """Return a search for lines that may match; None if every line may."""
        beginnings = [_beginning(network) for network in self.networks]
        return LineSearch([*self.words, *beginnings]) if all(beginnings) else None

    def _in_text(self, text: str) -> list[str]:
        found, words = [], self.words
        for word in {*_WORD.findall(text.lower())}:
            if word in words:
                found.append(word)
            elif "." in word or ":" in word:
                found += self._parts(word)
        return found

    def _parts(self, word: str) -> list[str]:
        """Return the indicators in a word: HOST of HOST:PORT, or a parent domain."""
        host = word.strip(".:-_").partition(":")[0] if word.count(":") == 1 else word.strip(".:-_")
        found = [host] if host in self.words else []
        while not found and "." in host:
            host = host.partition(".")[2]
            found = [host] if host in self.words else []
        return found


def _beginning(network: Network) -> str:
    """Return the text with which all addresses of a network begin, or "".

    A record may have an IPv6 address in any notation. In each notation, the first group has four
    digits, unless it begins with zero.
    """
    if isinstance(network, ipaddress.IPv4Network):
        octets = str(network.network_address).split(".")
        return "".join(f"{octet}." for octet in octets[: network.prefixlen // 8])
    group = network.network_address.exploded.partition(":")[0]
    return f"{group}:" if network.prefixlen >= len(group) * 4 and group[0] != "0" else ""


def read_indicator_list(path: Path) -> IndicatorList:
    """Read a list or a STIX bundle; UsageError if it has no indicator."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}. Name a readable file."
        ) from None
    found = IndicatorList(digest=hashlib.sha256(raw).hexdigest())
    if len(raw) > _LARGEST:
        raise UsageError(f"{path}: larger than {_LARGEST >> 20} MiB. Split the list.")
    if raw.lstrip()[:1] == b"{":
        _read_stix(path, raw, found)
    else:
        for number, line in enumerate(raw.decode("utf-8-sig", "replace").splitlines(), 1):
            value = line.partition("#")[0].strip()
            if value and not found.add(value):
                found.not_applied.append(f"line {number}")
    if not 0 < len(found) <= _MOST:
        others = f", and {len(found.not_applied):,} not applied" if found.not_applied else ""
        raise UsageError(
            f"{path}: {len(found):,} indicators{others}. Give 1 to {_MOST:,} addresses, networks, "
            "domains or hashes, one per line, or a STIX 2.1 bundle."
        )
    return found


def _read_stix(path: Path, raw: bytes, found: IndicatorList) -> None:
    try:
        bundle = orjson.loads(raw)
        objects = [item for item in bundle["objects"] if item["type"] == "indicator"]
        patterns = [(str(item["id"]), str(item["pattern"])) for item in objects]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: not a STIX 2.1 bundle. Give its JSON, unchanged.") from None
    for identifier, pattern in patterns:
        values = IndicatorList()
        parts = [_COMPARISON.fullmatch(part) for part in _comparisons(pattern)]
        if all(part is not None and values.add(part[1]) for part in parts):
            found.words |= values.words
            found.networks += values.networks
        else:
            found.not_applied.append(identifier)


def _comparisons(pattern: str) -> list[str]:
    """Return the comparisons of a pattern that are joined by OR.

    If the pattern is in another form, return it unchanged.
    """
    begin, end = pattern.strip()[:1], pattern.strip()[-1:]
    inner = pattern.strip()[1:-1]
    if (begin, end) != ("[", "]"):
        return [pattern]
    return re.split(r"\bOR\b|\]\s*OR\s*\[", inner)
