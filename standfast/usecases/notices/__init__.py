"""Notices up to delivery: plan, preview, staged sending, accounting.

A notice is a message to the people that an incident concerns. Decisions about single recipients are
in the package `notice_follow_up`.
"""
