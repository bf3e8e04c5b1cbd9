"""Tabletop exercises from start to report.

Rules of incidents do not belong here: an exercise is an incident in mode `exercise`.
"""
