"""Base classes and shared steps of the account connectors.

Code for one provider alone belongs in the module of that provider.
"""
