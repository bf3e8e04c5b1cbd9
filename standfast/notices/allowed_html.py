"""Allowed HTML elements and attributes of a notice.

The renderer escapes values; this module checks the result. A slot is the place of a value that
differs between recipients.

Rules
- A notice has only text and its structure: no link, picture, form, script or address to fetch from.
  If a notice of a breach asked for a click, people would learn to trust the next phishing mail. A
  picture would reveal which recipients opened the notice.
- A slot must be in text and not inside a tag, because escaping does not make every value harmless
  inside a tag.
- The rendered text is checked, and not the template. Thus no condition in a template can hide a tag
  from the check.
"""

import re
from html.parser import HTMLParser

ELEMENTS = frozenset(
    {"html", "head", "meta", "body", "div", "p", "br", "hr", "h1", "h2", "h3", "strong", "em", "b"}
    | {"i", "small", "span", "ul", "ol", "li", "dl", "dt", "dd", "code", "pre", "blockquote"}
    | {"table", "thead", "tbody", "tr", "th", "td"}
)
ATTRIBUTES = frozenset({"lang", "dir", "style", "charset", "role", "align", "scope"})
_REACHES_OUT = re.compile(r"url\s*\(|@import|expression|\\|/\*", re.IGNORECASE)


def markup_problems(html: str, slot_mark: re.Pattern[str]) -> list[tuple[int, str]]:
    """Return each problem with its line in the rendered text, from 1.

    `slot_mark` matches the marks that represent slots in `html`.
    """
    reader = _Reader(slot_mark)
    reader.feed(html)
    reader.close()
    if reader.bodies != 1:
        reader.problems.append((0, "there must be exactly one <body>"))
    if reader.slots_in_text != len(slot_mark.findall(html)):
        reader.problems.append((0, "a slot must be in text, not within a tag"))
    return reader.problems


class _Reader(HTMLParser):
    def __init__(self, slot_mark: re.Pattern[str]) -> None:
        super().__init__(convert_charrefs=False)
        self.problems: list[tuple[int, str]] = []
        self.bodies = 0
        self.slots_in_text = 0
        self._slot_mark = slot_mark

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.bodies += tag == "body"
        if tag not in ELEMENTS:
            self._say(f"the element <{tag[:40]}> is not allowed")
        for name, value in attrs:
            if name not in ATTRIBUTES:
                self._say(f"the attribute {name[:40]!r} is not allowed")
            elif name == "style" and _REACHES_OUT.search(value or ""):
                self._say("a style must not fetch anything")

    def handle_data(self, data: str) -> None:
        self.slots_in_text += len(self._slot_mark.findall(data))
        if "<" in data:  # an escaped `<` is an entity; this one is bare, or in an open tag
            self._say("a bare < is not allowed; close the tag or write &lt;")

    def handle_comment(self, data: str) -> None:
        self._say("a comment is not allowed: mail programs interpret some comments")

    def handle_decl(self, decl: str) -> None:
        if decl.strip().lower() != "doctype html":
            self._say("the only declaration allowed is <!doctype html>")

    def handle_pi(self, data: str) -> None:
        self._say("a processing instruction is not allowed")

    def unknown_decl(self, data: str) -> None:
        self._say("a marked section is not allowed")

    def _say(self, message: str) -> None:
        self.problems.append((self.getpos()[0], message))
