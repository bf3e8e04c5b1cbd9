"""Dependency graph of services as a tree of lines, for the terminal."""

from collections.abc import Iterator, Mapping, Sequence


def dependency_tree(dependencies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield lines of a tree with each service above its dependencies.

    `dependencies` has no cycle and names each service. The roots are the services on which no
    service depends. If several services depend on the same service, the dependencies of that
    service are drawn only once. Its other lines end with "(see above)".
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
