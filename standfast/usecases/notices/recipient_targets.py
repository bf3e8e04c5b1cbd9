"""Prefixes of notice targets: a mailbox, a letter or a held recipient.

Rules
- A target names a channel and a person. Two channels to one person are therefore two targets.
"""

MAIL = "mail:"
POST = "post:"  # followed by the lines of the letter's address
# Followed by the recipient's key. The recipient, such as a minor, waits for a person's decision.
HELD = "held:"
