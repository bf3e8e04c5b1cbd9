"""Tabletop exercises from start to report.

An exercise is an incident in mode `exercise`; rules of incidents do not belong here.
"""
