"""Sign-in to the console: pages, sessions and passkeys.

Approval of steps does not belong here.
"""
