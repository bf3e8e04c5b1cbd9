"""Dependency graph of services in the terminal."""

from standfast.continuity.service_order import dependency_tree


def test_each_dependency_is_drawn_below_its_service() -> None:
    dependencies = {
        "network": [],
        "database": ["network"],
        "telephony": ["network"],
        "desk": ["database", "telephony", "network"],
        "wallboard": [],
    }
    assert [*dependency_tree(dependencies)] == [
        "desk",
        "├─ database",
        "│  └─ network",
        "├─ telephony",
        "│  └─ network",
        "└─ network",
        "wallboard",
    ]


def test_shared_dependencies_are_drawn_once() -> None:
    dependencies = {"network": [], "database": ["network"], "a": ["database"], "b": ["database"]}
    assert [*dependency_tree(dependencies)] == [
        "a",
        "└─ database",
        "   └─ network",
        "b",
        "└─ database (see above)",
    ]
