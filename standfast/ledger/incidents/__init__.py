"""Incidents, their steps, decisions, facts and triggers.

The package `effects` contains the effects of steps (single changes, such as one locked account),
and `messages` the messages to the people that an incident concerns.
"""
