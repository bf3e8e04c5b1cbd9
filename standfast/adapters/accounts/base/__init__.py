"""Base classes and shared steps of the account connectors.

What only one provider needs belongs in the module of that provider.
"""
