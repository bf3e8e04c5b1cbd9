"""Commands on notices, their recipients and their delivery.

Messages to staff on call do not belong here.
"""
