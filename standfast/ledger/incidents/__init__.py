"""Incidents, their steps, decisions, facts and triggers.

The package `effects` contains single changes, and `messages` the messages of notices.
"""
