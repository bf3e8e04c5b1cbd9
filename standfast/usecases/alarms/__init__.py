"""Alarms: whom they reach, when they end, how `status` shows them.

Detection of what is wrong belongs to the domain that measures it.
"""
