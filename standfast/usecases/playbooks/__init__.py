"""Playbooks of an installation: lookup, validation, pages, CACAO files.

A playbook is the file that describes the response to one kind of incident. CACAO is a standard
format for playbooks. The playbook model and engine are in `standfast/playbook`.
"""
