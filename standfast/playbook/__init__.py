"""Playbook model, parser, validation, actions, engine and status.

    playbook = load(text, "mine.yaml")   # parser.playbook_file; PlaybookInvalid has all problems
    print(as_text(playbook))             # rendering.plain_text

The package does no input or output.

    model.py               the records of a playbook
    actions/               one module for each action that a playbook may name
    parser/                YAML text to records, with the line of every problem
    validation/            problems of a playbook, before it is accepted
    expressions.py         the expressions of `when` and `{{ … }}`, with an allowed grammar
    engine.py              the next moves of an incident, from its state alone
    status/                the same state in words: progress, obstacles, next step
    rendering/, cacao/     text and drawings of a playbook; exchange with CACAO 2.0

Files are read, state is stored and actions are carried out elsewhere. Submodules are imported by
name, so that `import standfast.playbook` takes no time.
"""
