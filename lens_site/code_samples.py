"""Writes the call of every operation in the OpenAPI description: curl, Python, JavaScript."""

from __future__ import annotations

import json
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")
HOST = "http://127.0.0.1:8000"
ENDLESS = "/api/v1/decisions/stream"


def add_code_samples(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Return the description with ``x-codeSamples`` at each operation."""
    for path, operations in result["paths"].items():
        for method in METHODS:
            if method in operations:
                body = _example_of(operations[method])
                operations[method]["x-codeSamples"] = [
                    {"lang": "Shell", "label": "curl", "source": _curl(method, path, body)},
                    {"lang": "Python", "label": "Python", "source": _python(method, path, body)},
                    {"lang": "JavaScript", "source": _javascript(method, path, body)},
                ]
    return result


def _example_of(operation: dict[str, Any]) -> Any:
    """Return the first example of the request's body, None where it takes none."""
    content = operation.get("requestBody", {}).get("content", {})
    examples = content.get("application/json", {}).get("examples", {})
    return next(iter(examples.values()))["value"] if examples else None


def _curl(method: str, path: str, body: Any) -> str:
    verb = {"get": "-sN" if path == ENDLESS else "-s"}.get(method, f"-s -X {method.upper()}")
    lines = [f"curl {verb} '{HOST}{path}'", '  -H "X-API-Key: $LENS_API_KEY"']
    if body is not None:
        text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{text}'"]
    return " \\\n".join(lines)


def _python(method: str, path: str, body: Any) -> str:
    head = 'import os\n\nimport httpx2\n\nheaders = {"X-API-Key": os.environ["LENS_API_KEY"]}\n'
    if path == ENDLESS:
        call = (
            f'with httpx2.stream("GET", "{HOST}{path}", headers=headers, timeout=None) as answer:\n'
        )
        return head + call + "    for line in answer.iter_lines():\n        print(line)\n"
    given = "" if body is None else f", json={body!r}"
    call = f'answer = httpx2.{method}("{HOST}{path}", headers=headers{given})\n'
    shown = "" if method == "delete" else "print(answer.json())\n"
    return head + call + "answer.raise_for_status()\n" + shown


def _javascript(method: str, path: str, body: Any) -> str:
    named = ["'X-API-Key': process.env.LENS_API_KEY"]
    options = [f"  method: '{method.upper()}'"]
    if body is not None:
        named.append("'Content-Type': 'application/json'")
        options.append(f"  body: JSON.stringify({json.dumps(body, ensure_ascii=False)})")
    options.insert(1, f"  headers: {{{', '.join(named)}}}")
    call = f"const answer = await fetch('{HOST}{path}', {{\n" + ",\n".join(options) + ",\n});\n"
    shown = "answer.status" if method == "delete" else "await answer.json()"
    read = f"console.log({shown});"
    if path == ENDLESS:
        read = "const text = new TextDecoder();\n"
        read += "for await (const bytes of answer.body) console.log(text.decode(bytes));"
    return f"{call}{read}\n"
