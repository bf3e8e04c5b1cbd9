"""Commands that bring a service or an installation back for real.

Drills, and restores to a folder or a server that the user names, are in `backups`.
"""
