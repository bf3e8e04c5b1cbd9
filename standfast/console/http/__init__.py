"""HTTP infrastructure of the console: limits, queue and errors.

Pages and end points do not belong here.
"""
