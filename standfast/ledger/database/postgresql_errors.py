"""Messages for errors of PostgreSQL and its driver.

This module imports no driver: it finds the message by SQLSTATE, or by known words in the server's
text. No message repeats the server's text, because that text may quote a row, or an address with
the name of a user.
"""

from standfast.errors import ConfigurationError, OnlyReadable

NO_RIGHT = "42501"
_NO_WRITES = "does not accept writes. Let ledger.url name the primary and not its replica"
_ANSWERS_NOT = "no answer. Check that it runs and that ledger.url is right"
_BY_STATE = {  # PostgreSQL, appendix A
    "40P01": "two writers changed the same rows. Run this again",
    "40001": "two writers changed the same rows. Run this again",
    "53100": "its disk is full. Free space there",
    "53300": "too many connections. End programs that use them, or raise max_connections",
    "57P03": "starting or stopping. Run this again in a moment",
    "25006": _NO_WRITES,
    "0A000": _NO_WRITES,  # a replica reports this state for a transaction that may write
}
_BY_WORDS = (  # a refused connection has no SQLSTATE: search for these texts
    (
        "authentication failed",
        "sign-in refused. Correct the user in ledger.url, or ledger.password",
    ),
    ("no password supplied", "a password is required. Set ledger.password"),
    ("no pg_hba.conf entry", "connections from this machine are refused. Add it to pg_hba.conf"),
    ("does not exist", "no such user or database. Correct ledger.url"),
    ("too many clients", _BY_STATE["53300"]),
    ("remaining connection slots", _BY_STATE["53300"]),
    ("starting up", _BY_STATE["57P03"]),
    ("shutting down", _BY_STATE["57P03"]),
)
_BY_HAND = "Until then work by hand, from `standfast playbook show NAME`."


def has_message(state: str | None) -> bool:
    """Return whether a SQLSTATE has a message here."""
    return state in _BY_STATE


def lacks_permission(*, writes: bool) -> ConfigurationError:
    """Return the error for a missing right to a table."""
    if writes:
        return OnlyReadable(
            "ledger: the database user in ledger.url may only read it. Run this on the host of the "
            "installation, as the user that owns the ledger. Commands that only read work here too."
        )
    return ConfigurationError(
        "ledger: the database user in ledger.url may not read all tables. As their owner, GRANT "
        "SELECT ON ALL TABLES IN SCHEMA public, again after each upgrade, then run this again."
    )


def error_message(state: str | None, text: str) -> str:
    """Return the message for an error, by SQLSTATE or by the server's text."""
    found = _BY_STATE.get(state or "")
    if found is None:
        found = next((message for words, message in _BY_WORDS if words in text), _ANSWERS_NOT)
    return f"the ledger's PostgreSQL: {found}. {_BY_HAND}"
