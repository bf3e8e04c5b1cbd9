"""Messages of notices, their delivery reports and their pauses.

A notice is a message to the people that an incident concerns.

The rendering and sending of messages do not belong here.
"""
