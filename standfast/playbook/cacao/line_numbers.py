"""Line numbers of the values of a JSON text.

Python's JSON parser does not report line numbers. For a value in an object, the line is the line of
its name.
"""

import json
import re
from collections.abc import Iterable, Iterator

JsonPath = tuple[str | int, ...]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\]:,"]+', re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z]\w*)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]")


def places(text: str) -> Iterator[tuple[JsonPath, int]]:
    """Yield the path and the line of each value, in the order of the text.

    The text must be valid JSON.
    """
    path: list[str | int] = []
    awaits_name: list[bool] = []  # for each open object or list; always false for a list
    line, at = 1, 0
    for token in _TOKEN.finditer(text):
        line += text.count("\n", at, token.start())
        at = token.start()
        match token[0]:
            case "}" | "]":
                path.pop()
                awaits_name.pop()
                continue
            case ",":
                last = path[-1]
                path[-1] = last + 1 if isinstance(last, int) else ""
                awaits_name[-1] = isinstance(last, str)
                continue
        if awaits_name and awaits_name[-1]:
            path[-1] = json.loads(token[0])
            awaits_name[-1] = False
            yield tuple(path), line
            continue
        if not path or isinstance(path[-1], int):
            yield tuple(path), line
        if token[0] in ("{", "["):
            is_object = token[0] == "{"
            path.append("" if is_object else 0)
            awaits_name.append(is_object)


def lines_of(text: str, json_paths: Iterable[str]) -> list[int]:
    """Return the lines of paths such as `$.workflow['a'].cases`.

    A missing path has the line of its nearest existing parent.
    """
    wanted = [tuple(_steps(path)) for path in json_paths]
    on_the_way = {step for path in wanted for step in _towards(path)}
    found: dict[JsonPath, int] = {(): 1}
    for path, line in places(text):
        if path in on_the_way:
            found.setdefault(path, line)
    nearest = (max((p for p in _towards(path) if p in found), key=len) for path in wanted)
    return [found[path] for path in nearest]


def _towards(path: JsonPath) -> list[JsonPath]:
    return [path[:length] for length in range(len(path) + 1)]


def _steps(json_path: str) -> Iterator[str | int]:
    for plain, number, quoted in _STEP.findall(json_path):
        if number:
            yield int(number)
        else:
            yield plain or re.sub(r"\\(.)", r"\1", quoted)
