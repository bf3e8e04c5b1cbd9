"""Dependency graph of services as a tree of lines, for the terminal."""

from collections.abc import Iterator, Mapping, Sequence


def dependency_tree(dependencies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a tree with each service above its dependencies.

    `dependencies` names each service and has no cycle. The roots are the services on which no other
    service depends. If several services depend on one service, its own dependencies are drawn only
    once. Its other lines end with "(see above)".
    """
    needed = {name for names in dependencies.values() for name in names}
    drawn: set[str] = set()
    for name in dependencies:
        if name not in needed:
            yield name
            yield from _branches(dependencies, name, "", drawn)


def _branches(
    dependencies: Mapping[str, Sequence[str]], service: str, indent: str, drawn: set[str]
) -> Iterator[str]:
    drawn.add(service)
    names = dependencies[service]
    for number, name in enumerate(names, 1):
        is_last = number == len(names)
        is_repeated = name in drawn and dependencies[name]
        yield f"{indent}{'└─' if is_last else '├─'} {name}{' (see above)' if is_repeated else ''}"
        if not is_repeated:
            yield from _branches(dependencies, name, indent + ("   " if is_last else "│  "), drawn)
