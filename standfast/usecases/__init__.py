"""The use-cases, where the rooms meet: one file for each thing that a person or a flow asks for."""
