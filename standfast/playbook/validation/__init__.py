"""Validation of playbooks: graph, actions and expressions.

The syntax of the file belongs in `parser`.
"""
