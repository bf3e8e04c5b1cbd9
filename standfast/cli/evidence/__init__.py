"""Commands that list, verify, export and dispose of sealed evidence.

A seal is a signature over the list of the collected files. The commands on the audit chain are in
`reports`.
"""
