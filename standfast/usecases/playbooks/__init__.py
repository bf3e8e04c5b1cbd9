"""Playbooks of an installation: lookup, validation, pages, CACAO.

The playbook model and engine are in `standfast/playbook`.
"""
