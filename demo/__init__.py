"""A made-up contact centre that is really there, and the night on which it is broken into.

`call_centre` makes what such a place has, `servers` runs its directory of accounts and its mail,
`tour` tells the story: backups, a drill, a breach, containment, notices, an undo. What the tour
shows was done by the program itself; nothing here stands in for it.
"""
