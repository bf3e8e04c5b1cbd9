"""What the targets of notices begin with: it tells a mailbox, a letter and a held person apart.

Rules
- The target names the person's way, and the person: two ways to one person are two targets.
"""

MAIL = "mail:"
POST = "post:"  # and the lines of a letter's window
HELD = "held:"  # and the person's key: whom only a person may decide to write to
