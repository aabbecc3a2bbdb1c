"""The gateway's reference as a page: made from its OpenAPI document, and needing nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code { font-family: ui-monospace, monospace; font-size: .9em }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0 }
h2 { margin-top: 2.5rem; border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding-top: 1rem }
"""


def page(document: dict[str, Any]) -> str:
    """The document as HTML."""
    parts = [f"<p>{escape(text)}</p>" for text in document["info"]["description"].split("\n\n")]
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p><b>{escape(about.get('summary', ''))}.</b> {escape(about.get('description', ''))}</p>")
            if given := about.get("parameters"):
                rows = "".join(_parameter(one) for one in given)
                parts.append(f"<table><tr><th>parameter<th>default<th>example<th>what{rows}</table>")
    title = "Titan: the gateway"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{''.join(parts)}"
        f'<p>As a document: <a href="/openapi.json">/openapi.json</a></html>'
    )


def _parameter(one: dict[str, Any]) -> str:
    schema = one["schema"]
    options = [schema, *schema.get("anyOf", [])]
    values: list[str] = next((option["enum"] for option in options if "enum" in option), [])
    examples = next((option["examples"] for option in options if "examples" in option), values)
    example = examples[0] if examples else ""
    told = one.get("description", "") + (f" One of {', '.join(values)}." if values else "")
    default = "needed" if one.get("required") else schema.get("default", "")
    cells = [one["name"], default, ", ".join(example) if isinstance(example, list) else example]
    return "<tr>" + "".join(f"<td><code>{escape(str(cell))}</code>" for cell in cells) + f"<td>{escape(told)}"
