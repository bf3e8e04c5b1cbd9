"""Renderings of a playbook as text, text graph and SVG.

HTML pages belong in `standfast.reports`.
"""
