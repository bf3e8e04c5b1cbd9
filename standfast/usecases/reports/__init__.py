"""Result pages, shift handover, timeline and audit export.

The layout of pages is in `standfast/reports`.
"""
