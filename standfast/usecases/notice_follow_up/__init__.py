"""Follow-up of notices: held recipients, letters, bounces, corrections.

Planning and sending of notices are in `notices`.
"""
