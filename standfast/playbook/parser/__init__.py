"""Parser of playbook files and of input values.

Checks whether a parsed playbook can be carried out belong in `validation`.
"""
