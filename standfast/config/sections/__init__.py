"""Sections of `standfast.toml`, one module for each subject.

The code that reads, validates and documents the file is in `standfast.config`.
"""
