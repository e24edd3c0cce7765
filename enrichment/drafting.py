"""The text of a profile or a policy as people write it, YAML or JSON; pure.

What is wrong is told by line, also what is found later by path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

TEXT_MAX_CHARS = 32_768
PLAIN = {
    "tag:yaml.org,2002:map",
    "tag:yaml.org,2002:seq",
    "tag:yaml.org,2002:timestamp",
    "tag:yaml.org,2002:null",
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:int",
    "tag:yaml.org,2002:float",
    "tag:yaml.org,2002:str",
}


class BadText(ValueError):
    """The text is not what it should be; ``line`` counts from 1."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(f"line {line}: {fault}")
        self.line = line
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Written:
    """What a text says, and by path on which line it says it."""

    definition: Mapping[str, Any]
    lines: Mapping[str, int]

    def line_of(self, path: str) -> int:
        """Return the line of a path, or of the nearest that is written above it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = re.sub(r"(\.?[^.\[\]]+|\[[^\]]*\])$", "", path)
        return 1


def read_text(text: str) -> Written:
    """Return what a text says.

    :raises BadText: if it is too long, not YAML, or anything but plain objects and lists.
    """
    if len(text) > TEXT_MAX_CHARS:
        raise BadText(1, f"longer than {TEXT_MAX_CHARS} characters")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader()
        value = {} if root is None else reader.value(root, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise BadText(line, error.problem or "not YAML") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, BadText):
            raise
        raise BadText(1, str(error)) from error
    except RecursionError as error:
        raise BadText(1, "nested too deeply") from error
    if not isinstance(value, dict):
        raise BadText(1, "must be an object: lines of `name: value`")
    return Written(definition=value, lines=reader.lines)


def written(definition: Mapping[str, Any]) -> str:
    """Return a definition as text for people."""
    return str(
        yaml.safe_dump(
            dict(definition), sort_keys=False, allow_unicode=True, default_flow_style=None, width=88
        )
    )


class _Reader:
    """Turns nodes of YAML into plain values, noting where each stands."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self._seen: set[int] = set()
        self._plain = yaml.SafeLoader("")

    def value(self, node: yaml.Node, path: str) -> Any:
        line = node.start_mark.line + 1
        if id(node) in self._seen:
            raise BadText(line, "anchors and aliases are not used here")
        if node.tag not in PLAIN:
            raise BadText(line, f"{node.tag} is not used here; write a plain value")
        self._seen.add(id(node))
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(each, path, place) for place, each in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadText(line, "a name must be a word")
            if key in found:
                raise BadText(line, f"{key!r} stands twice")
            inner = f"{path}.{key}" if path else key
            self.lines[inner] = line
            found[key] = self.value(value_node, inner)
        return found

    def _item(self, node: yaml.Node, path: str, place: int) -> Any:
        """Read one item of a list; one with a name is also found by it."""
        inner = f"{path}[{place}]"
        value = self.value(node, inner)
        if isinstance(value, dict) and "name" in value:
            named = f"{path}[{value['name']}]"
            for known, line in list(self.lines.items()):
                if known.startswith(inner):
                    self.lines.setdefault(named + known.removeprefix(inner), line)
        return value

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag == "tag:yaml.org,2002:timestamp":
            return str(node.value)
        return self._plain.construct_object(node)
