"""A fictional contact centre with real services, and its breach.

`call_centre` creates its data. `server_processes` runs its account directory and its mail server.
`tour` shows the chapters: backups, a drill (a test of their restore), a breach, containment,
notices, an undo. Standfast itself does all of this work on these services; no result is simulated.
"""
