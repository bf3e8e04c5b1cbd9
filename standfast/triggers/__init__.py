"""Triggers: authentication and parsing of messages from outside.

All functions are pure.

The network and files are in `standfast/console`, the opening of incidents in
`standfast/usecases/triggers`.

Rules
- Messages of sources that cannot sign (Alertmanager, Suricata, a form) only open a plan and page
  people; they change nothing.
- A message has an id: messages with the same id count once. A trigger has a key: messages with the
  same key join the open incident.
- Only signed messages are trusted. No error quotes a message: an invalid value is named by its
  location.
"""
