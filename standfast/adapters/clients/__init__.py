"""Protocol clients that several adapters share.

The meaning of an answer for an account or a message does not belong here.
"""
