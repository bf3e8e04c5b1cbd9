"""The use-cases of people and flows, grouped by domain."""
