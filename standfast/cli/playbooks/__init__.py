"""Commands on playbooks and tabletop exercises.

Opening an incident from a playbook is in `incidents`.
"""
