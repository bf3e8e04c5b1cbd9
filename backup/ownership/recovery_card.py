"""The recovery card: one page to print, with all that is needed to begin a restore but the keys.

Owns what stands on it, as text; `card_page` sets it for print.

- It holds no secret: whoever finds it knows where the stores are and whom to ask.
- Keys that are compared by eye or read aloud stand in groups of four.
"""

from dataclasses import dataclass
from datetime import datetime

from backup.ownership.bundled_reader import CONTRACT, READER, sha256_of
from backup.ownership.roster import Roster


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where things are, as people write it; copies by name."""

    organisation: str
    contact: str
    vault: str
    keys: str
    copies: tuple[tuple[str, str], ...] = ()
    key_copies: tuple[tuple[str, str], ...] = ()  # of the key records, and when each was seen
    download: str = ""  # what is typed to download the vault; empty when it is a folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to do, and what to type for it."""

    what: str
    typed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What stands on the page."""

    places: Places
    roster: Roster
    made: datetime
    reader_sha256: str
    format_sha256: str

    @property
    def stores(self) -> list[tuple[str, str]]:
        """Each store and where it is."""
        return [
            ("1. vault (encrypted backups)", self.places.vault),
            *((f"   copy: {name}", where) for name, where in self.places.copies),
            ("2. key records", self.places.keys),
            *((f"   copy: {name}", seen) for name, seen in self.places.key_copies),
            ("3. a recovery identity", "with each custodian named below"),
        ]

    @property
    def writers(self) -> list[tuple[str, str]]:
        """Each backup host that writes now, and its newest point."""
        rows = []
        for one in self.roster.writers:
            if one.trusted_through is not None:
                continue
            newest = one.newest
            said = (
                "no recovery point yet"
                if newest is None
                else f"{one.id}/{newest.sequence:010d} of {newest.time:%Y-%m-%d %H:%M} UTC"
            )
            rows.append((f"{one.id} (epoch {one.epoch}; {', '.join(one.domains)})", said))
        return rows

    @property
    def custodians(self) -> list[tuple[str, str]]:
        """Each custodian's name, and the fingerprint to know their key by."""
        return [(one.name or "(no name)", one.fingerprint) for one in self.roster.custodians]

    @property
    def steps(self) -> list[Step]:
        """How to restore."""
        reader = f"pub/reader/{self.reader_sha256}"
        is_bucket = bool(self.places.download)
        return [
            Step(
                what="Ask one of the custodians named here to bring their recovery identity to a"
                " clean Linux machine with Python 3.11 or newer, on Debian and Ubuntu with"
                " python3-venv. Nobody else's help is needed.",
            ),
            Step(
                what="Bring the key records to it as a folder, KEYS: the key store, or any copy of"
                " it such as the offline folder"
                + ("." if is_bucket else "; and the vault as a folder, VAULT."),
            ),
            Step(
                what="Take the reader out of the offline folder, and compare its SHA-256 with this"
                f" card. If it differs, take {reader} out of the bucket."
                if is_bucket
                else "Take the reader out of the vault, and compare its SHA-256 with this card.",
                typed=f"cp {'KEYS/break_glass.py' if is_bucket else f'VAULT/{reader}'}"
                " break_glass.py\nsha256sum break_glass.py",
            ),
            Step(
                what="Install what it needs.",
                typed="python3 -m venv glass\n"
                "glass/bin/pip install cryptography zstandard blake3 pyrage"
                + (" boto3" if is_bucket else ""),
            ),
            *self._download_steps,
            Step(
                what="List the recovery points. Compare the owner's key that it prints with this"
                " card.",
                typed="glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE",
            ),
            Step(
                what="Restore one into a new folder. Without POINT it is the newest, where all"
                " points are of one host and one set. What is damaged is named, and the rest"
                " restored.",
                typed="glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE TARGET POINT",
            ),
        ]

    @property
    def _download_steps(self) -> list[Step]:
        if not self.places.download:
            return []
        return [
            Step(
                what="Download the bucket into VAULT, with a key that may only read it. Not with"
                " aws s3 sync or another tool: those fetch the newest version of each name, which"
                " may be an intruder's; the reader fetches the first one.",
                typed=self.places.download,
            )
        ]


def make_card(roster: Roster, places: Places, made: datetime) -> Card:
    """Put a card together; the hashes are those of this version's reader and contract."""
    return Card(
        places=places,
        roster=roster,
        made=made,
        reader_sha256=sha256_of(READER),
        format_sha256=sha256_of(CONTRACT),
    )


WHAT_TO_KEEP = "Three things restore everything; keep them in different places"


def grouped(key: bytes) -> list[str]:
    """A key in hexadecimal, in groups of four, eight of them a line."""
    text = key.hex()
    fours = [text[at : at + 4] for at in range(0, len(text), 4)]
    return [" ".join(fours[at : at + 8]) for at in range(0, len(fours), 8)]


def card_text(card: Card) -> str:
    """The card as plain text, 80 columns or so."""
    lines = [
        f"RECOVERY CARD - {card.places.organisation}",
        f"Made {card.made:%Y-%m-%d}, root record {card.roster.root_number}. No secret stands here.",
        f"Reach us: {card.places.contact}",
        "",
        WHAT_TO_KEEP.upper(),
        *(f"  {name}\n    {where}" for name, where in card.stores),
        "",
        "WHAT IT IS KNOWN BY",
        f"  repository   {grouped(card.roster.repository)[0]}",
        *(
            f"  {'owner key' if not n else '':12} {line}"
            for n, line in enumerate(grouped(card.roster.owner))
        ),
        "",
        "WHO CAN OPEN IT (one of them is enough)",
        *(f"  {name}\n    {fingerprint}" for name, fingerprint in card.custodians),
        "",
        "WHO WRITES IT",
        *(f"  {name}: {newest}" for name, newest in card.writers),
        "",
        "HOW TO RESTORE",
    ]
    for number, step in enumerate(card.steps, 1):
        lines.append(f"  {number}. {step.what}")
        lines += [f"       {line}" for line in step.typed.splitlines()]
    lines += [
        "",
        "SHA-256 OF THE DOCUMENTS (in the vault below pub/reader/ and pub/format/)",
        f"  break_glass.py  {card.reader_sha256}",
        f"  FORMAT.md       {card.format_sha256}",
        "",
        "Print it again when a custodian, a host or a store changes.",
    ]
    return "\n".join(lines) + "\n"
