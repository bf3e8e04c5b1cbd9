"""Commands that plan, open, approve, watch and undo incidents.

Notices, deadlines and evidence have their own packages.
"""
