"""Triggers: what comes from outside and opens an incident. Pure: bytes and settings in, facts out.

Owns what a source may say, how a message is known to be the source's own, and how what it says
becomes the inputs of a scenario. Leaves the network and files to `standfast/console/` and
`operations/eve_tail.py`, and opening to `operations/triggers.py`.

Rules
- What cannot sign (Alertmanager, Suricata, a form) plans and pages, and never acts.
- A message has an id; by it, it counts once. A trigger has a key; by it, what is about the same
  thing joins the incident that is open.
- No message is believed further than its signature, and none is repeated in an error: what does not
  fit is named by its place.
"""
