"""Recovery card: the page with the steps of a restore, as text or HTML.

The card has all data that people need for a restore when the configured machines are lost:
locations, key fingerprints, steps and advice.

- The card contains no secret. A person that finds it learns the places of the stores and the names
  of the custodians, the people that can decrypt backups.
- Public keys that people compare by eye or read aloud are in groups of four digits.
- The HTML page fits on one sheet of paper. It is one file without scripts, pictures or external
  fonts.
- Every value in the page is escaped, because names and locations come from people.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from html import escape

from backup.ownership.bundled_reader import CONTRACT, READER, document_sha256
from backup.ownership.roster import Roster


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Organisation and locations, as people write them."""

    organisation: str
    contact: str
    vault: str
    keys: str
    copies: tuple[tuple[str, str], ...] = ()  # copies of the vault: name, location
    key_copies: tuple[tuple[str, str], ...] = ()  # copies of the key store: name, time seen
    download: str = ""  # the command that downloads the vault; empty for a folder
    has_installation: bool = False  # the vault has backups of Standfast's own files


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One instruction of a restore, and the command to type for it."""

    instruction: str
    command: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Content of a recovery card."""

    places: Places
    roster: Roster
    made: datetime
    reader_sha256: str
    format_sha256: str

    @property
    def stores(self) -> list[tuple[str, str]]:
        """Return each store and its location."""
        return [
            ("1. vault (encrypted backups)", self.places.vault),
            *((f"   copy: {name}", where) for name, where in self.places.copies),
            ("2. key records", self.places.keys),
            *((f"   copy: {name}", seen) for name, seen in self.places.key_copies),
            ("3. a recovery identity", "with each custodian named below"),
        ]

    @property
    def writers(self) -> list[tuple[str, str]]:
        """Return each active backup host and its newest recovery point."""
        rows = []
        for host in self.roster.writers:
            if host.trusted_through is not None:
                continue
            newest = host.newest
            description = (
                "no recovery point yet"
                if newest is None
                else f"{host.id}/{newest.sequence:010d} of {newest.time:%Y-%m-%d %H:%M} UTC"
            )
            rows.append((f"{host.id} (epoch {host.epoch}; {', '.join(host.domains)})", description))
        return rows

    @property
    def custodians(self) -> list[tuple[str, str]]:
        """Return each custodian's name and key fingerprint."""
        return [
            (custodian.name or "(no name)", custodian.fingerprint)
            for custodian in self.roster.custodians
        ]

    @property
    def steps(self) -> list[Step]:
        """Return the instructions of a restore."""
        reader = f"pub/reader/{self.reader_sha256}"
        is_bucket = bool(self.places.download)
        return [
            Step(
                instruction="Ask one of the custodians named here to bring their recovery identity"
                " to a clean Linux machine with Python 3.11 or newer, on Debian and Ubuntu with"
                " python3-venv. Nobody else's help is needed."
            ),
            Step(
                instruction="Copy the key records to this machine as a folder, KEYS: the key store,"
                " or any copy of it such as the offline folder"
                + ("." if is_bucket else "; and the vault as a folder, VAULT.")
            ),
            Step(
                instruction="Copy the reader from the offline folder, and compare its SHA-256 with"
                f" this card. If it differs, download {reader} from the bucket."
                if is_bucket
                else "Copy the reader from the vault, and compare its SHA-256 with this card.",
                command=f"cp {'KEYS/break_glass.py' if is_bucket else f'VAULT/{reader}'}"
                " break_glass.py\nsha256sum break_glass.py",
            ),
            Step(
                instruction="Install the libraries that the reader needs.",
                command="python3 -m venv glass\n"
                "glass/bin/pip install cryptography zstandard blake3 pyrage"
                + (" boto3" if is_bucket else ""),
            ),
            *self._download_steps,
            Step(
                instruction="List the recovery points. Compare the owner's key that it prints with"
                " this card.",
                command="glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE",
            ),
            Step(
                instruction="Restore a point into a new folder. Without POINT, the newest point "
                "is restored, if all points are of one host and one set. Damaged "
                "files are named, and the rest is restored.",
                command="glass/bin/python break_glass.py VAULT KEYS IDENTITY_FILE TARGET POINT",
            ),
            *self._installation_steps,
        ]

    @property
    def _installation_steps(self) -> list[Step]:
        if not self.places.has_installation:
            return []
        return [
            Step(
                instruction="To bring Standfast itself back with its ledger and open incidents,"
                " install it on a clean machine, and run this there before everything else.",
                command="standfast recover installation --vault VAULT --identity IDENTITY_FILE"
                " --keys KEYS --into DIR",
            )
        ]

    @property
    def _download_steps(self) -> list[Step]:
        if not self.places.download:
            return []
        return [
            Step(
                instruction="Download the bucket into VAULT, with a key that may only read it. "
                "Do not use aws s3 sync or another tool: they fetch the newest "
                "version of each name, which may be from an intruder; the reader "
                "fetches the first version.",
                command=self.places.download,
            )
        ]


def make_card(roster: Roster, places: Places, made: datetime) -> Card:
    """Create a card with the hashes of this version's reader and format."""
    return Card(
        places=places,
        roster=roster,
        made=made,
        reader_sha256=document_sha256(READER),
        format_sha256=document_sha256(CONTRACT),
    )


WHAT_TO_KEEP = "Three things restore everything; keep them in different places"


def group_digits(key: bytes) -> list[str]:
    """Return a key in hexadecimal: groups of four, eight groups a line."""
    text = key.hex()
    fours = [text[start : start + 4] for start in range(0, len(text), 4)]
    return [" ".join(fours[start : start + 8]) for start in range(0, len(fours), 8)]


def card_text(card: Card) -> str:
    """Return the card as plain text, about 80 columns wide."""
    lines = [
        f"RECOVERY CARD - {card.places.organisation}",
        f"Made {card.made:%Y-%m-%d}, root record {card.roster.root_number}. It contains no secret.",
        f"Reach us: {card.places.contact}",
        "",
        WHAT_TO_KEEP.upper(),
        *(f"  {name}\n    {where}" for name, where in card.stores),
        "",
        "IDENTITY OF THE REPOSITORY",
        f"  repository   {group_digits(card.roster.repository)[0]}",
        *(
            f"  {'owner key' if not n else '':12} {line}"
            for n, line in enumerate(group_digits(card.roster.owner))
        ),
        "",
        "CUSTODIANS (one of them is enough)",
        *(f"  {name}\n    {fingerprint}" for name, fingerprint in card.custodians),
        "",
        "BACKUP HOSTS AND THEIR NEWEST RECOVERY POINTS",
        *(f"  {name}: {newest}" for name, newest in card.writers),
        "",
        "HOW TO RESTORE",
    ]
    for number, step in enumerate(card.steps, 1):
        lines.append(f"  {number}. {step.instruction}")
        lines += [f"       {line}" for line in step.command.splitlines()]
    lines += [
        "",
        "SHA-256 OF THE DOCUMENTS (in the vault below pub/reader/ and pub/format/)",
        f"  break_glass.py  {card.reader_sha256}",
        f"  FORMAT.md       {card.format_sha256}",
        "",
        "Print it again when a custodian, a host or a store changes.",
    ]
    return "\n".join(lines) + "\n"


_STYLE = """
@page { size: A4; margin: 12mm 14mm; }
* { box-sizing: border-box; }
html { background: #e8e8e4; }
body { margin: 2rem auto; padding: 12mm 14mm; width: 210mm; min-height: 297mm; background: #fff;
  color: #111; font: 10pt/1.38 "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
header { display: flex; justify-content: space-between; align-items: flex-end; gap: 8mm;
  border-bottom: 2.2pt solid #111; padding-bottom: 2.5mm; }
h1 { margin: 0; font-size: 20pt; line-height: 1.1; letter-spacing: -.01em; }
header p { margin: 0; }
header .who { font-size: 11.5pt; margin-top: 1mm; }
header .made { text-align: right; font-size: 8.5pt; color: #333; white-space: nowrap; }
h2 { margin: 4.2mm 0 1.2mm; font-size: 8.5pt; letter-spacing: .09em; text-transform: uppercase;
  color: #333; }
code, kbd, .key { font-family: "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace; }
table { border-collapse: collapse; width: 100%; }
td { padding: .7mm 0; vertical-align: top; border-top: .4pt solid #bbb; }
tr:first-child td { border-top: 0; }
td:first-child { width: 52mm; padding-right: 4mm; }
td code { font-size: 8.3pt; overflow-wrap: anywhere; }
.keys { display: grid; grid-template-columns: 52mm 1fr; row-gap: 1.2mm; }
.key { font-size: 11.5pt; line-height: 1.5; white-space: pre; }
ol { margin: 0; padding: 0; list-style: none; counter-reset: step; }
li { counter-increment: step; position: relative; padding: .5mm 0 1mm 8mm; break-inside: avoid; }
li::before { content: counter(step); position: absolute; left: 0; top: .9mm; width: 5.2mm;
  height: 5.2mm; border: .9pt solid #111; border-radius: 50%; font-weight: 700; font-size: 8.5pt;
  line-height: 4.8mm; text-align: center; }
kbd { display: block; margin-top: .8mm; padding: 1mm 2mm; background: #f1f1ee; font-size: 7.6pt;
  line-height: 1.45; white-space: pre-wrap; overflow-wrap: anywhere;
  border-left: 1.6pt solid #111; }
footer { margin-top: 4mm; padding-top: 1.8mm; border-top: .8pt solid #111; font-size: 8.5pt;
  display: flex; justify-content: space-between; gap: 8mm; color: #333; }
@media print {
  html { background: none; }
  body { margin: 0; padding: 0; width: auto; min-height: 0; }
  kbd { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def card_page(card: Card) -> str:
    """Return the card as one HTML file."""
    repository, owner = group_digits(card.roster.repository), group_digits(card.roster.owner)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Recovery card: {escape(card.places.organisation)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<div>
<h1>Recovery card</h1>
<p class="who">{escape(card.places.organisation)} &middot; {escape(card.places.contact)}</p>
</div>
<p class="made">made {card.made:%Y-%m-%d}<br>root record {card.roster.root_number}<br>
it contains no secret</p>
</header>
<main>
<h2>{WHAT_TO_KEEP}</h2>
{_table(card.stores)}
<h2>Identity of the repository</h2>
<div class="keys">
<span>repository</span><span class="key">{escape(chr(10).join(repository))}</span>
<span>owner&rsquo;s key</span><span class="key">{escape(chr(10).join(owner))}</span>
</div>
<h2>Custodians: one of them is enough</h2>
{_table(card.custodians)}
<h2>Backup hosts and their newest recovery points</h2>
{_table(card.writers)}
<h2>How to restore</h2>
<ol>
{"".join(map(_step, card.steps))}</ol>
<h2>SHA-256 of the documents in the vault</h2>
{
        _table(
            [
                ("break_glass.py (pub/reader/)", card.reader_sha256),
                ("FORMAT.md (pub/format/)", card.format_sha256),
            ]
        )
    }
</main>
<footer>
<span>Keep two copies, in two places, apart from the recovery identities.</span>
<span>Print it again when a custodian, a host or a store changes.</span>
</footer>
</body>
</html>
"""


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "\n".join(
        f"<tr><td>{escape(name)}</td><td><code>{escape(value)}</code></td></tr>"
        for name, value in rows
    )
    return f"<table>\n{cells}\n</table>" if cells else "<p>none</p>"


def _step(step: Step) -> str:
    command = f"<kbd>{escape(step.command)}</kbd>" if step.command else ""
    return f"<li>{escape(step.instruction)}{command}</li>\n"
