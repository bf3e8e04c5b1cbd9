"""Triggers: message intake, dead letters, promotion of plans, mails.

A trigger is a configured way to open an incident from outside, such as a webhook. Signatures and
message formats are in `standfast/triggers`.
"""
