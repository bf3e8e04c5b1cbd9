"""Triggers: authentication and parsing of messages from outside.

A trigger is a configured way to open an incident, such as a webhook. All functions of this package
are pure. The network and files are in `standfast/console`, and `standfast/usecases/triggers` opens
the incidents.

Rules
- Messages of sources that cannot sign (Alertmanager, Suricata, a form) only plan an incident and
  page people. They change nothing on real systems.
- A message has an id: messages with the same id count once. It also has a key: it joins the open
  incident of earlier messages with the same key.
- Only signed messages are trusted. No error quotes a message: an invalid value is named by its
  location.
"""
