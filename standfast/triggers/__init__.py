"""Triggers: authentication and parsing of messages from outside.

All functions are pure.

The network and files are in `standfast/console`, the opening of incidents in
`standfast/usecases/triggers`.

Rules
- Sources that cannot sign (Alertmanager, Suricata, a form) plan and page, and never act.
- A message has an id, by which it counts once. A trigger has a key, by which messages about the
  same subject join the open incident.
- A message is trusted only as far as its signature. No error repeats a message: an invalid value is
  named by its location.
"""
