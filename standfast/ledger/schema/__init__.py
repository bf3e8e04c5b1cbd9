"""Tables, their migrations, and encryption of personal columns.

Queries and changes of rows do not belong here.
"""
