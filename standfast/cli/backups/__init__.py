"""Commands on backups, restores, retention and drills.

Key ceremonies (in which people create, use or retire keys) are in `key_ceremonies`.
"""
