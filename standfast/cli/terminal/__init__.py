"""Invocation, output, prompts and passphrases of all commands.

Parsing is in `parsing`; texts of one command are next to it.
"""
