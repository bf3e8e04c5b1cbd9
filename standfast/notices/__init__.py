"""Notices: templates, rendering, audiences and checks of the wording.

    templates = read_templates(own_folder)             # template_folder
    prepared = prepare(templates["breach"], context)   # template_renderer: once for an incident
    message = prepared.fill(...)                       # prepared_notice: once for each recipient

An audience is a configured source of recipients. `audience` decides which of its rows are notified.
`readability` and `banned_phrases` check the wording. Senders are in `standfast.adapters.senders`.
The time of sending, its approval and the states of recipients do not belong here.
"""
