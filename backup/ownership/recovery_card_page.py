"""Print layout of the recovery card: one web page, one sheet of paper.

The recovery card has the fingerprints and steps that a restore needs.

- The page is one file without scripts, pictures or external fonts.
- Every value is escaped, because names and locations come from people.
"""

from collections.abc import Iterable
from html import escape

from backup.ownership.recovery_card import WHAT_TO_KEEP, Card, Step, group_digits

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
