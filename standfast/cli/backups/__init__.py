"""Commands on backups, restores, retention and drills.

Key ceremonies are in `key_ceremonies`.
"""
