"""Follow-up of notices: held recipients, letters, bounces, corrections.

A notice is a message to the people that an incident concerns. A held recipient, such as a minor,
waits for the decision of a person. Planning and sending of notices are in the package `notices`.
"""
