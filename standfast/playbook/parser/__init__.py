"""Parser of playbook files and of input values.

Whether a parsed playbook is sound belongs in `validation`.
"""
