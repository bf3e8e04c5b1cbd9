"""Legal clocks of incidents: obligations, reminders, calendars.

The rules for counting periods are in `standfast/deadlines`.
"""
