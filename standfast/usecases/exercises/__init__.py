"""Tabletop exercises from start to report.

In a tabletop exercise, people discuss a written scenario. It is stored as an incident in mode
`exercise`. Rules that apply to all incidents do not belong here.
"""
