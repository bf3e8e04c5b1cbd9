"""Messages of notices, their delivery reports and their pauses.

Rendering and sending do not belong here.
"""
