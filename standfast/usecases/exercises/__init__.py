"""Tabletop exercises from start to report.

A tabletop exercise is an incident in mode `exercise`. Rules that apply to all incidents do not
belong here.
"""
