"""The page at ``/docs``: the OpenAPI document for people, made here, as a viewer would be downloaded at each visit."""

import html
import json
from collections.abc import Mapping
from typing import Any

_STYLE = """
h2 { margin-top: 2.6rem; padding-top: 1.1rem; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
h2 b { color: var(--accent); }
h1 + p, h2 + p { margin: .5rem 0 .9rem; max-width: 75ch; }
.wide { overflow-x: auto; margin: .7rem 0; }
.wide table { width: 100%; border-collapse: collapse; font-size: .9rem; }
.wide td, .wide th { border-bottom: 1px solid var(--line); padding: .35rem 1.2rem .35rem 0; text-align: left; }
.wide td { vertical-align: top; } .wide th { color: var(--quiet); font-weight: 550; font-size: .82rem; }
.wide td:last-child { min-width: 10rem; }
h1.later { margin-top: 3.5rem; }
[id] { scroll-margin-top: 4.5rem; }
"""
_SCRIPT = """/* The colours that were chosen on the page. */
const theme = localStorage.getItem("fedgan theme");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
"""
_HEAD = """<!doctype html><html lang=en><meta charset=utf-8>
<meta name=viewport content='width=device-width, initial-scale=1'><title>fedgan: addresses</title>
<link rel=icon href=icon.svg type='image/svg+xml'>
<link rel=stylesheet href=style.css><link rel=stylesheet href=docs.css>
<script src=docs.js></script>
<header class=bar><a class=brand href='./'><img src=icon.svg alt='' width=26 height=26>fedgan</a>
<nav aria-label=Main><a href='./'>Runs</a><a href=docs aria-current=page>API</a></nav></header>
<main><h1>Addresses</h1>"""
_EXAMPLE = """curl -s http://127.0.0.1:8808/api/runs
curl -s http://127.0.0.1:8808/api/runs/RUN/generate -H 'Content-Type: application/json' \\
     -d '{"num": 100, "labels": [7], "format": "zip"}' -o sevens.zip
curl -sN http://127.0.0.1:8808/api/runs/RUN/journal -H 'Accept: text/event-stream'
"""


def style() -> str:
    """Returns the page's style sheet."""
    return _STYLE


def script() -> str:
    """Returns the page's script."""
    return _SCRIPT


def page(document: Mapping[str, Any]) -> str:
    """Returns the page for an OpenAPI document."""
    parts = [
        _HEAD,
        f"<p>{_(document['info'].get('description', ''))} For programs: <a href='openapi.json'>openapi.json</a>.</p>",
        f"<pre>{_(_EXAMPLE)}</pre>",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2><code><b>{method.upper()}</b> {_(path)}</code></h2><p>{_(operation.get('description', ''))}</p>"
            )
            parts.append(_parameters(operation.get("parameters", ())))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                parts.append(f"<p>Body: {_kind(content['schema'])}</p>")
            rows = "".join(_answer(status, response) for status, response in sorted(operation["responses"].items()))
            head = "<tr><th>status</th><th>content</th><th>meaning</th></tr>"
            parts.append(f"<div class=wide><table>{head}{rows}</table></div>")
    parts.append("<h1 class=later>Objects</h1>")
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        rows = "".join(
            f"<tr><td><code>{_(key)}</code></td><td>{_kind(field)}</td><td>{_default(field)}</td>"
            f"<td>{_(field.get('description', ''))}</td></tr>"
            for key, field in schema.get("properties", {}).items()
        )
        parts.append(f"<h2 id='{_(name)}'>{_(name)}</h2><p>{_(schema.get('description', ''))}</p>")
        head = "<tr><th>key</th><th>value</th><th>default</th><th>meaning</th></tr>"
        parts.append(f"<div class=wide><table>{head}{rows}</table></div>")
    return "\n".join([*parts, "</main></html>"])


def _parameters(parameters: Any) -> str:
    rows = "".join(
        f"<tr><td><code>{_(entry['name'])}</code></td><td>{_(entry['in'])}</td><td>{_kind(entry['schema'])}</td>"
        f"<td>{_(entry.get('description', ''))}</td></tr>"
        for entry in parameters
    )
    head = "<tr><th>parameter</th><th>in</th><th>value</th><th>meaning</th></tr>"
    return f"<div class=wide><table>{head}{rows}</table></div>" if rows else ""


def _answer(status: str, response: Mapping[str, Any]) -> str:
    content = ", ".join(
        f"{_(media)} {_kind(entry.get('schema', {}))}" for media, entry in response.get("content", {}).items()
    )
    return f"<tr><td>{_(status)}</td><td>{content}</td><td>{_(response.get('description', ''))}</td></tr>"


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
