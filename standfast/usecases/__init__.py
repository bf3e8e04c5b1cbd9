"""Use-cases of people and flows, grouped by domain."""
