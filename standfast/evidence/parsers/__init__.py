"""Parsers of logs: each turns one family of formats into records.

A parser is a pure function: bytes or a parsed object in, a `Record` out, or None if the input is
not of its family. `log_file` reads a file, recognizes its format, and calls the parsers. Parsers
open no file, and do not depend on incidents, masking or filters.
"""
