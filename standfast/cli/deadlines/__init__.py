"""Commands on legal clocks and the facts that start them.

A legal clock is the running time limit of a duty to notify. The texts of notices are in `notices`.
"""
