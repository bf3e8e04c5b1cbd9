"""Allowlist of statements in a dump of roles or users.

- Only statements of the kinds that the dump program writes are sent. A dump with a statement of
  another kind is refused as a whole.
- Statements are rebuilt from tokens, without comments. Outside of quotes, only characters that
  these statements need are accepted. The characters that start a command or a variable of the
  client program are not among them.
- Settings are omitted, because they change how later statements are parsed. Each target sends its
  own settings.
- A conditional comment of MariaDB or MySQL must contain a whole statement. If it contained a part,
  a server that skips the comment would execute a statement that was not checked.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backup.errors import UnexpectedStatement
from backup.targets import Stream

_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Tokens of a dump, and the kinds of statements that it may contain.

    For the match, words are converted to upper case, and each quoted name to `"`.
    """

    token: re.Pattern[str]  # a quoted text or a sign has no named group
    allowed: re.Pattern[str]
    omitted: re.Pattern[str]  # statements that are expected, but not sent


POSTGRESQL = Dialect(
    token=re.compile(
        r"""(?P<space>[ \t\n\r\f\v]+|--[^\n\r]*|\\(?:un)?restrict[ ][A-Za-z0-9]+(?=[\n\r]|\Z))
        |[eE]'(?:[^'\\\0]++|''|\\[^\0])*+'|'(?:[^'\\\0]++|'')*+'|"(?:[^"\0]++|"")*+"
        |(?P<word>[A-Za-z_0-9][A-Za-z_0-9.]*)|(?P<end>;)|[(),=.+-]""",
        re.VERBOSE,
    ),
    allowed=re.compile(
        r"(?:CREATE|ALTER) (?:ROLE|TABLESPACE) |COMMENT ON (?:ROLE|TABLESPACE) "
        r"|SECURITY LABEL (?:FOR \S+ )?ON (?:ROLE|TABLESPACE) |GRANT |REVOKE "
        r"|SET SESSION AUTHORIZATION |RESET SESSION AUTHORIZATION$"
    ),
    omitted=re.compile(
        r"SET (?:DEFAULT_TRANSACTION_READ_ONLY = OFF|CLIENT_ENCODING = 'UTF8'"
        r"|STANDARD_CONFORMING_STRINGS = ON)$"
    ),
)
MARIADB = Dialect(
    token=re.compile(
        r"""(?P<space>[ \t\n\r]+|--(?=[ \t\n\r]|\Z)[^\n]*|/\*M?!999999\\-[^*/]*\*/)
        |'(?:[^'\\\0*]++|\*(?!/)|''|\\[^\0*])*+'|`(?:[^`\0*]++|\*(?!/)|``)*+`
        |(?P<word>[A-Za-z_0-9][A-Za-z_0-9.]*)|(?P<end>;)
        |(?P<opening>/\*M?![0-9]{5,6}(?=[ ]))|(?P<closing>\*/)|[(),=.@*]|-(?!-)""",
        re.VERBOSE,
    ),
    allowed=re.compile(
        r"(?:CREATE|ALTER) USER |CREATE ROLE |GRANT |REVOKE |SET (?:DEFAULT )?ROLE "
        r"|DROP ROLE MARIADB_DUMP_IMPORT_ROLE$|FLUSH PRIVILEGES$"
    ),
    omitted=re.compile(
        r"SET (?!PASSWORD)|SELECT COALESCE \( CURRENT_ROLE \( \) , 'NONE' \) INTO @ "
        r"|EXECUTE IMMEDIATE CONCAT \( 'SET ROLE ' , @ CURRENT_ROLE \)$"
    ),
)


def checked_statements(stream: Stream, dialect: Dialect) -> tuple[bytes, int]:
    """Return the statements to send, and the dump's size in bytes.

    Raise `UnexpectedStatement` if the dump has any other statement. The caller then sends nothing.
    """
    pieces, size = [], 0
    for piece in stream():
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_BYTES:
            raise UnexpectedStatement(f"it is larger than {_MAX_BYTES // 1024**2} MiB")
    try:
        text = b"".join(pieces).decode()
    except UnicodeDecodeError:
        raise UnexpectedStatement("it is not UTF-8 text") from None
    return "".join(f"{statement};\n" for statement in _statements(text, dialect)).encode(), size


def _statements(text: str, dialect: Dialect) -> Iterator[str]:
    tokens: list[tuple[str | None, str]] = []
    position, line = 0, 1
    while position < len(text):
        found = dialect.token.match(text, position)
        if found is None:
            raise UnexpectedStatement(f"line {line} has a character or a comment out of place")
        kind, token = found.lastgroup, found.group()
        position, line = found.end(), line + token.count("\n")
        if kind == "space":
            tokens += [(kind, " ")] if tokens and tokens[-1][0] != "space" else []
        elif kind != "end":
            tokens.append((kind, token))
        else:
            if dialect.allowed.match(shape := _shape(tokens, line)):
                yield "".join(token for _, token in tokens)
            elif not dialect.omitted.match(shape):
                raise UnexpectedStatement(f"line {line} has a statement of another kind")
            tokens = []
    if _shape(tokens, line):
        raise UnexpectedStatement(f"line {line} has a statement that does not end")


def _shape(tokens: Sequence[tuple[str | None, str]], line: int) -> str:
    seen = [(kind, text) for kind, text in tokens if kind != "space"]
    if seen and (seen[0][0], seen[-1][0]) == ("opening", "closing"):
        seen = seen[1:-1]
    if any(kind in ("opening", "closing") for kind, _ in seen):
        raise UnexpectedStatement(f"line {line} has a comment within a statement")
    return " ".join(
        text.upper() if kind == "word" else '"' if text[0] in '`"' else text for kind, text in seen
    )
