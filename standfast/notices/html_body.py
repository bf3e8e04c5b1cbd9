"""Text and HTML body of a notice, made from one rendered `body.txt`.

A notice is a message to the people that an incident concerns. `body.txt` is the file of a template
with the text of the notice in one language.

Rules
- `# ` begins a heading, `- ` a list entry, and four spaces or a tab a command to type. Adjacent
  other lines are a paragraph. The text body omits `# ` and is otherwise as written.
- Blanks before `- ` are ignored, because templates indent the lines of a `for`. No list is nested.
- The language determines the direction of writing. If the text determined it, a notice that begins
  with a value in Arabic or Hebrew would be reversed as a whole.
- Only lines of the template have these meanings. `mark_value` marks the beginning of each value and
  its line ends, so that a value is always text, even if it begins with `- `.
- Text and values are escaped together. An HTML body has only the elements and attributes in this
  module: no link, picture, form or script. If a notice of a breach asked for a click, people would
  learn to trust the next phishing mail. A picture would reveal who opened the notice.
- The structure follows the rendered lines: a `for` without entries results in no list at all.
"""

import html
import re
from collections.abc import Iterable
from itertools import groupby

# Marks are control characters, which a mail cannot contain and a value must not contain.
_VALUE_BEGINS = "\0"
_VALUE_LINE_ENDS = "\r"

_PREFIXES = {
    "heading": re.compile(r"# "),
    "list": re.compile(r"[ \t]*- "),
    "command": re.compile(r" {4}|\t"),
    "paragraph": re.compile(""),
}
_HEADING = re.compile(r"^# ", re.MULTILINE)
# Languages (BCP 47) that are written from right to left, if the tag names no other script.
_RIGHT_TO_LEFT = re.compile(
    r"([a-z]+-(arab|hebr)|(ar|arc|ckb|dv|fa|he|nqo|prs|ps|sd|syr|ug|ur|yi)(?!-[a-z]{4}\b))\b",
    re.IGNORECASE,
)


def mark_value(value: object) -> str:
    """Return a value as text, with marks that `without_marks` removes."""
    return _VALUE_BEGINS + str(value).replace("\n", _VALUE_LINE_ENDS)


def without_marks(rendered: str) -> str:
    """Return a rendered template with its values as they were."""
    return rendered.replace(_VALUE_BEGINS, "").replace(_VALUE_LINE_ENDS, "\n")


def text_body(rendered: str, banner: str = "") -> str:
    """Return the text body of a rendered `body.txt`, after the banner if any."""
    text = without_marks(_HEADING.sub("", rendered))
    return f"{banner}\n\n{text}" if banner else text


def html_body(rendered: str, language: str, banner: str = "") -> str:
    """Return the HTML body of a rendered `body.txt`, after the banner if any."""
    style = "border:3px solid #b00020;padding:8px;font-weight:bold"
    blocks = [f'<p style="{style}" dir="auto">{html.escape(banner)}</p>'] if banner else []
    for kind, lines in groupby(html.escape(rendered).split("\n"), _kind):
        blocks += _blocks(kind, lines)
    body = "\n".join(blocks).replace(_VALUE_BEGINS, "").replace(_VALUE_LINE_ENDS, "<br>")
    return (
        f"<!doctype html>\n<html {language_attributes(language)}>\n"
        '<head><meta charset="utf-8"></head>\n'
        '<body style="font-family:sans-serif;line-height:1.5;max-width:40em;'
        'overflow-wrap:anywhere">\n'
        f"{body}\n</body>\n</html>\n"
    )


def language_attributes(language: str) -> str:
    """Return the HTML attributes for a language and its direction."""
    direction = "rtl" if _RIGHT_TO_LEFT.match(language) else "ltr"
    return f'lang="{language}" dir="{direction}"'


def _kind(line: str) -> str:
    if not line.strip(" \t"):
        return "blank"
    return next(kind for kind, prefix in _PREFIXES.items() if prefix.match(line))


def _blocks(kind: str, lines: Iterable[str]) -> list[str]:
    if kind == "blank":
        return []
    lines = [_PREFIXES[kind].sub("", line, count=1) for line in lines]
    match kind:
        case "heading":
            return [f'<h2 style="font-size:1.1em">{line}</h2>' for line in lines]
        case "list":
            return ["<ul>", *(f"<li>{line}</li>" for line in lines), "</ul>"]
        case "command":
            return ['<pre style="white-space:pre-wrap">' + "\n".join(lines) + "</pre>"]
        case _:
            return ["<p>" + "<br>".join(lines) + "</p>"]
