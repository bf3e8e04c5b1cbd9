"""Commands on notices, their recipients and their delivery.

A notice is a message to the people that an incident concerns. Messages to staff on call do not
belong here.
"""
