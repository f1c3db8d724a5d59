"""The page at ``/docs``: the OpenAPI document for people, made here, as a viewer would be downloaded at each visit."""

import html
import json
from collections.abc import Mapping
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; } code, pre { font-size: .9em; } pre { background: var(--soft); padding: .6rem; }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
pre, .wide { overflow-x: auto; }
"""
_EXAMPLE = """curl -s http://127.0.0.1:8808/api/runs
curl -s http://127.0.0.1:8808/api/runs/RUN/generate -H 'Content-Type: application/json' \\
     -d '{"num": 100, "labels": [7], "format": "zip"}' -o sevens.zip
curl -sN http://127.0.0.1:8808/api/runs/RUN/journal -H 'Accept: text/event-stream'
"""


def style() -> str:
    """Returns the page's style sheet."""
    return _STYLE


def page(document: Mapping[str, Any]) -> str:
    """Returns the page for an OpenAPI document."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        "<title>fedgan: addresses</title><link rel=stylesheet href='/docs.css'><h1>fedgan serve</h1>",
        f"<p>{_(document['info'].get('description', ''))} For programs: <a href='/openapi.json'>openapi.json</a>.</p>",
        f"<pre>{_(_EXAMPLE)}</pre>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2><code>{method.upper()} {_(path)}</code></h2><p>{_(operation.get('description', ''))}</p>"
            )
            parts.append(_parameters(operation.get("parameters", ())))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                parts.append(f"<p>Body: {_kind(content['schema'])}</p>")
            rows = "".join(_answer(status, told) for status, told in sorted(operation["responses"].items()))
            parts.append(f"<table><tr><th>status</th><th>meaning</th><th>content</th></tr>{rows}</table>")
    parts.append("<h1>Objects</h1>")
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        rows = "".join(
            f"<tr><td><code>{_(key)}</code></td><td>{_kind(field)}</td><td>{_default(field)}</td>"
            f"<td>{_(field.get('description', ''))}</td></tr>"
            for key, field in schema.get("properties", {}).items()
        )
        parts.append(f"<h2 id='{_(name)}'>{_(name)}</h2><p>{_(schema.get('description', ''))}</p>")
        head = "<tr><th>key</th><th>value</th><th>default</th><th>meaning</th></tr>"
        parts.append(f"<div class=wide><table>{head}{rows}</table></div>")
    return "\n".join(parts)


def _parameters(parameters: Any) -> str:
    rows = "".join(
        f"<tr><td><code>{_(entry['name'])}</code></td><td>{_(entry['in'])}</td><td>{_kind(entry['schema'])}</td>"
        f"<td>{_(entry.get('description', ''))}</td></tr>"
        for entry in parameters
    )
    return f"<table>{rows}</table>" if rows else ""


def _answer(status: str, told: Mapping[str, Any]) -> str:
    content = ", ".join(
        f"{_(media)} {_kind(entry.get('schema', {}))}" for media, entry in told.get("content", {}).items()
    )
    return f"<tr><td>{_(status)}</td><td>{_(told.get('description', ''))}</td><td>{content}</td></tr>"


def _kind(schema: Mapping[str, Any]) -> str:
    """Returns what values a schema takes, in few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{_(name)}'>{_(name)}</a>"
    if "enum" in schema or "const" in schema:
        return " or ".join(f"<code>{_(str(value))}</code>" for value in schema.get("enum", [schema.get("const")]))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(inner) for inner in schema[key]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    bounds = f" {low} to {high}" if low is not None and high is not None else ""
    return _(f"{schema.get('type', '')}{bounds}")


def _default(field: Mapping[str, Any]) -> str:
    return f"<code>{_(json.dumps(field['default']))}</code>" if field.get("default") is not None else ""


def _(text: str) -> str:
    return html.escape(text)
