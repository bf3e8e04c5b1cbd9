"""Runs of backups and drills, runners of incidents, and their clock.

Results of incidents do not belong here.
"""
