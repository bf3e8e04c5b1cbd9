"""Legal clocks of incidents, their obligations, reminders, calendars.

Rules of counting are in `standfast/deadlines`.
"""
