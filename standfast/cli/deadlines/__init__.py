"""Commands on legal clocks and the facts that start them.

The texts of notices are in `notices`.
"""
