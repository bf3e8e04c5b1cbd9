"""Runs of backups and drills, runners of incidents, and their clock.

A drill is a measured test restore, and a runner is a process that executes incidents. Results of
incidents do not belong here.
"""
