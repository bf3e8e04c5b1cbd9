"""Incidents from opening to closing: plan, execution and undo of steps.

A step is one part of a playbook, the file that describes the response to one kind of incident. The
approvals and answers of people are in the package `approvals`.
"""
