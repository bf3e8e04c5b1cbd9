"""Recipients after sending: held, undelivered, letters, corrections.

Planning and sending of notices are in `notices`.
"""
