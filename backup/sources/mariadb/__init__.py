"""MariaDB and MySQL source, and its server connection.

Restoring dumps into a server belongs in `targets`.
"""
