"""Legal clocks of incidents, their obligations, reminders, calendars.

The rules for counting time are in `standfast/deadlines`.
"""
