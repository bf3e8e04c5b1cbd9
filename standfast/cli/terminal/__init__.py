"""Invocation, output, prompts and passphrases of all commands.

Parsing is in `parsing`. The texts of one command are in the folder of the command.
"""
