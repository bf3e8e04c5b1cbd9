"""Search for lines that may contain an indicator, before they are parsed.

    search = LineSearch(["203.0.113.9", "evil.example"])
    search(b"...\\nGET http://evil.example/\\n")   # [1]

An indicator is a trace of an intruder, such as an address or a domain.

Rules
- The search only excludes lines. Each line that it returns is then parsed and compared with the
  list.
- The text is searched in the form in which parsers read it: invalid UTF-8 is escaped, and case is
  ignored.
- JSON can escape a character. Therefore a line with an escaped ASCII character is always returned.
- All values are searched in one pass (Aho-Corasick). Only their first characters are used, so that
  a list of a million values needs only a few hundred MB.
"""

from collections.abc import Iterable, Sequence

from ahocorasick_rs import BytesAhoCorasick, Implementation

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
