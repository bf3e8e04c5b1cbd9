"""Playbook model, parser, validation, actions, engine and status.

    playbook = load(text, "mine.yaml")   # parser.playbook_file; PlaybookInvalid lists all problems
    print(as_text(playbook))             # rendering.plain_text

A playbook is a file that describes the response to one kind of incident, as steps. A step is an
action of the program (such as the lock of accounts), a question, a manual task or a wait.

The package does no input or output: `standfast.usecases` reads files, stores the state of incidents
and carries out actions.

    model.py               the records of a playbook
    actions/               one module for each action that a playbook may name
    parser/                YAML text to records, with the line of every problem
    validation/            problems of a playbook, before it is accepted
    expressions.py         parser and evaluator of conditions (`when`) and values (`{{ … }}`)
    engine.py              the steps of an incident that can start or end next, from its state
    status/                the state of an incident in words: progress, obstacles, next step
    rendering/, cacao/     text and drawings of a playbook; exchange with CACAO 2.0

Submodules are imported by name, because `import standfast.playbook` loads none of them.
"""
