"""Incidents, their steps, decisions, facts and triggers.

The package `effects` contains single effects, and `messages` the messages of notices.
"""
