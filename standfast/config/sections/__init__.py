"""Sections of `standfast.toml`, one module a subject.

Reading, validating and documenting the file belong in `standfast.config`.
"""
