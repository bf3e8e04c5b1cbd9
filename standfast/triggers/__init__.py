"""Triggers: authentication and parsing of messages from outside.

A trigger is a configured way to open an incident, such as a webhook. All functions of this package
are pure. The network and files are in `standfast/console`, and `standfast/usecases/triggers` opens
the incidents.

Rules
- Messages of sources that cannot sign (Alertmanager, Suricata, a form) only plan an incident and
  page people. They change nothing on real systems.
- A message has an id: of several messages with the same id, one is processed. It also has a key: if
  earlier messages with the same key opened an incident that is still open, the message is added to
  that incident.
- Only signed messages are trusted.
- No error quotes a message: an invalid value is named by its location.
"""
