"""A fictional contact centre with real services, and its breach.

`call_centre` creates its data, `server_processes` runs its account directory and its mail, `tour`
shows the chapters: backups, a drill, a breach, containment, notices, an undo. Everything that the
tour shows is done by the program itself and not simulated.
"""
