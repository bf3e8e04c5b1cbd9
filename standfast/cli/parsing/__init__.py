"""Commands, groups and parameter types, on top of click.

Output, prompts and the invocation of a command belong in `terminal`.
"""
