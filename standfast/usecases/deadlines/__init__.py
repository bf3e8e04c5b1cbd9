"""Legal clocks of incidents, their obligations, reminders, calendars.

The rules of counting are in `standfast/deadlines`.
"""
