"""Parsers of logs: each converts one family of formats to records.

A parser is a pure function: it converts bytes or a parsed object to a `Record` (one event of a
log). It returns None for another family of formats. `log_file` reads a file, recognizes its format,
and calls the parsers. Parsers open no file, and do not depend on incidents, masking or filters.
"""
