"""Notices up to delivery: plan, preview, staged sending, accounting.

Decisions about single recipients are in `notice_follow_up`.
"""
