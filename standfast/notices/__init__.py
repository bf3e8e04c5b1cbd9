"""Notices: templates, rendering, audiences and checks of the wording.

    templates = read_templates(own_folder)             # template_folder
    prepared = prepare(templates["breach"], context)   # template_renderer: once for an incident
    message = prepared.fill(...)                       # prepared_notice: once for each recipient

A notice is a message to the people that an incident concerns. An audience is a configured source of
recipients, and `audience` decides which of its rows are notified. `readability` and
`banned_phrases` check the wording. Senders are in `standfast.adapters.senders`. The time of
sending, approvals and the states of recipients do not belong here, but in `standfast.usecases`.
"""
