"""Tabletop exercises from start to report.

Incident rules do not belong here: an exercise is an incident in its own mode.
"""
