"""Playbooks of an installation: lookup, validation, pages, CACAO files.

The playbook model and engine are in `standfast/playbook`.
"""
