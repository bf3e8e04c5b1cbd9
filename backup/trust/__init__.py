"""Verified record chains and key files of a repository.

Parsing belongs in `format`, changing records in `ownership` and `retention`.
"""
