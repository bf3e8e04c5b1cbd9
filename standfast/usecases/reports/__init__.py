"""Result pages, shift handover, timeline and audit export.

Page layout is in `standfast/reports`.
"""
