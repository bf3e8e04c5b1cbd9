"""CACAO v2.0 playbooks, read and written: pure, from text to text.

document    the text of a file to a document: bounded, and checked against the schema
schema      the schema, written from the tables of the specification
misfits     what the schema finds wrong, each with a hint
lines       where in a file the values stand
semantics   what the schema cannot say: cycles, dangling and unreachable steps, unknown variables
importing   a document to a playbook of ours, with a warning for all that it cannot carry
foreign_text  what a stranger wrote, as it may stand in a playbook
variables   the variables of a document, as inputs
flow        how the steps of a document follow each other, as our `needs` and `when`
exporting   a playbook of ours to a document; what CACAO has no word for travels as step extensions
extension   the extension itself: its identifiers, and what it holds

Rules
- Specification: CACAO Security Playbooks Version 2.0, OASIS Committee Specification 01.
- Nothing of a foreign file is executed by being imported: a command becomes the name of one that
  this place must allow, and asks for an approval.
- What is exported and imported again is the same playbook.
"""

from standfast.playbook.cacao.document import is_cacao

__all__ = ["is_cacao"]
