"""Incidents, their steps, decisions, facts and triggers.

Single effects are in `effects`; messages of notices are in `messages`.
"""
