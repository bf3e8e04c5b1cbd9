"""Legal clocks of incidents: obligations, reminders, calendars.

An obligation is a legal or contractual duty to notify somebody. A legal clock is the running
deadline of one obligation in one incident. The rules for counting periods are in
`standfast/deadlines`.
"""
