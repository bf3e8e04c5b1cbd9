"""The messages of LDAP (RFC 4511) that a lock is made of: searches, changes, and their answers.

It owns their bytes (BER), and sends none. Connecting, TLS and signing in stay with ldap3.

Rules
- A value in a filter is bytes with their length before them: nothing in a name can end it.
- Whatever a server sends, it is read as what it must be or is `Garbled`; nothing is guessed.
- Lengths are definite (5.1); a message of more than `MOST_BYTES` is none of ours.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE, MODIFY_DONE = 0x64, 0x65, 0x73, 0x67
MOST_BYTES = 16 * 1024 * 1024
_SEARCH, _MODIFY, _CONTROLS = 0x63, 0x66, 0xA0
_BOOLEAN, _INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE, _SET = 0x01, 0x02, 0x04, 0x0A, 0x30, 0x31
_AND, _OR, _EQUAL = 0xA0, 0xA1, 0xA3
_ADD, _DELETE, _REPLACE = 0, 1, 2
_ONE_ENTRY, _SUBTREE = 0, 2
_ALIASES_ARE_FOLLOWED = 3
_PAGED_RESULTS = b"1.2.840.113556.1.4.319"  # RFC 2696

Part = tuple[int, bytes]  # its tag and what is in it


class Garbled(Exception):
    """The server sent what is no answer to what it was asked."""


def message(number: int, operation: bytes, *controls: bytes) -> bytes:
    """Wrap an operation up under its number."""
    more = _written(_CONTROLS, b"".join(controls)) if controls else b""
    return _written(_SEQUENCE, _integer(number) + operation + more)


def search_request(
    base: str, filter_: bytes, attributes: Iterable[str], *, is_one_entry: bool
) -> bytes:
    """Ask for the entries below `base`, or that one, that the filter lets through."""
    wanted = b"".join([_octets(_bytes(name)) for name in attributes])
    return _written(
        _SEARCH,
        _octets(_bytes(base))
        + _integer(_ONE_ENTRY if is_one_entry else _SUBTREE, _ENUMERATED)
        + _integer(_ALIASES_ARE_FOLLOWED, _ENUMERATED)
        + _integer(0)  # no limit of ours to their number
        + _integer(0)  # nor to the seconds
        + _integer(0, _BOOLEAN)  # values as well as types
        + filter_
        + _written(_SEQUENCE, wanted),
    )


def modify_request(
    dn: str, changes: Mapping[str, Sequence[bytes]], *, anew: Collection[str] = ()
) -> bytes:
    """Replace the values of each attribute; those in `anew` are removed and added instead."""
    each = b"".join(
        [
            _change(_DELETE, name, ()) + _change(_ADD, name, values)
            if name in anew
            else _change(_REPLACE, name, values)
            for name, values in changes.items()
        ]
    )
    return _written(_MODIFY, _octets(_bytes(dn)) + _written(_SEQUENCE, each))


def one_of(attribute: str, values: Sequence[bytes]) -> bytes:
    """Write the filter that lets those through whose attribute has one of the values."""
    name = _octets(attribute.encode())
    each = [_written(_EQUAL, name + _octets(value)) for value in values]
    return each[0] if len(each) == 1 else _written(_OR, b"".join(each))


def both(one: bytes, other: bytes) -> bytes:
    """Write the filter that lets through what both do."""
    return _written(_AND, one + other)


@lru_cache(maxsize=64)
def written_filter(text: str) -> bytes:
    """Write a filter that stands in the configuration or in our code (RFC 4515)."""
    from ldap3.operation.search import compile_filter, parse_filter
    from ldap3.utils.asn1 import encode

    parsed = parse_filter(text, None, True, True, None, False)  # no schema: names are not checked
    return bytes(encode(compile_filter(parsed.elements[0])))


def page(size: int, cookie: bytes) -> bytes:
    """Write the control that asks for the next page of a search; the first has no cookie."""
    value = _written(_SEQUENCE, _integer(size) + _octets(cookie))
    return _written(_SEQUENCE, _octets(_PAGED_RESULTS) + _octets(value))


def length_of(received: bytes | bytearray) -> int:
    """Say how many bytes the message has that begins so; 0 when too few of them are there."""
    if received and received[0] != _SEQUENCE:
        raise Garbled
    if len(received) < 2:
        return 0
    size, count = received[1], 0
    if size > 0x7F:
        count = size & 0x7F
        if not 0 < count <= 4:
            raise Garbled
        if len(received) < 2 + count:
            return 0
        size = int.from_bytes(received[2 : 2 + count], "big")
    if size > MOST_BYTES:
        raise Garbled
    return 2 + count + size


def opened(whole: bytes) -> tuple[int, int, bytes, bytes]:
    """Give a message's number, what it is, its contents and its controls, if any."""
    match _parts(whole):
        case [(0x30, contents)]:
            match _parts(contents):
                case [(0x02, number), (kind, body)]:
                    return _number(number), kind, body, b""
                case [(0x02, number), (kind, body), (0xA0, controls)]:
                    return _number(number), kind, body, controls
    raise Garbled


def entry_of(body: bytes) -> tuple[str, dict[str, tuple[bytes, ...]]]:
    """Give the DN and the attributes of an entry that was found; their names in lower case."""
    match _parts(body):
        case [(0x04, dn), (0x30, listed)]:
            return _text(dn), dict(map(_attribute, _parts(listed)))
    raise Garbled


def code_of(body: bytes) -> int:
    """Give the result code that ends an operation."""
    match _parts(body):
        case [(0x0A, code), (0x04, _), (0x04, _), *_]:
            return _number(code)
    raise Garbled


def cookie_of(controls: bytes) -> bytes:
    """Give what asks for the page after this one; empty when there is none."""
    for _, control in _parts(controls):
        match _parts(control):
            case [(0x04, name), *more] if name == _PAGED_RESULTS:
                _, value = more[-1] if more else (0, b"")
                match [_parts(paged) for _, paged in _parts(value)]:
                    case [[(0x02, _), (0x04, cookie)]]:
                        return cookie
                raise Garbled
    return b""


def _attribute(part: Part) -> tuple[str, tuple[bytes, ...]]:
    match part[0], _parts(part[1]):
        case 0x30, [(0x04, name), (0x31, values)]:
            return _text(name).lower(), tuple([value for _, value in _parts(values)])
    raise Garbled


def _parts(data: bytes) -> list[Part]:
    """Take apart what stands one after the other."""
    found: list[Part] = []
    at, end = 0, len(data)
    try:
        while at < end:
            tag, size = data[at], data[at + 1]
            at += 2
            if size > 0x7F:
                begin, at = at, at + (size & 0x7F)
                size = int.from_bytes(data[begin:at], "big")
            begin, at = at, at + size
            if at > end or tag == 0:
                raise Garbled
            found.append((tag, data[begin:at]))
    except IndexError:
        raise Garbled from None
    return found


def _number(value: bytes) -> int:
    if not 0 < len(value) <= 4:  # no bytes are no success
        raise Garbled
    return int.from_bytes(value, "big")


def _change(kind: int, name: str, values: Iterable[bytes]) -> bytes:
    there = _written(_SET, b"".join([_octets(value) for value in values]))
    attribute = _written(_SEQUENCE, _octets(name.encode()) + there)
    return _written(_SEQUENCE, _integer(kind, _ENUMERATED) + attribute)


def _octets(value: bytes) -> bytes:
    return _written(_OCTETS, value)


def _integer(value: int, tag: int = _INTEGER) -> bytes:
    """Write a number that is not negative, with a zero before what would read as a sign."""
    return _written(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _written(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size <= 0x7F:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _text(value: bytes) -> str:
    """Read it so that it goes back as it came, whatever it is."""
    return value.decode(errors="surrogateescape")
