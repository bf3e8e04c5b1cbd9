"""Runs of backups and drills, incident runners and their clock.

Results of incidents do not belong here.
"""
