"""Import and export of CACAO v2.0 playbooks, from text to text.

  document          parser of a file: size limits, then validation against the schema
  schema            JSON schema, written from the tables of the specification
  schema_errors     schema violations, each with the corrective action
  line_numbers      lines of the values in a file
  semantics         checks that no schema can express: cycles, references to missing steps or
                    variables
  importer          document to playbook, with a warning for each part that is not converted
  text_sanitizer    sanitizer of foreign texts and names
  variables         variables of a document, as inputs
  step_order        order of the steps of a document, as needs and conditions of playbook steps
  exporter          playbook to document
  step_extension    playbook facts for which CACAO has no term, as a step extension

Rules
- Specification: CACAO Security Playbooks Version 2.0, OASIS Committee Specification 01.
- An import executes nothing of a foreign file: each command becomes the name of a command that the
  configuration must allow, and needs an approval.
- A playbook that is exported and imported again is unchanged.
"""

from standfast.playbook.cacao.document import is_cacao

__all__ = ["is_cacao"]
