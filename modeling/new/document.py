"""A ``model.yaml`` with comments, in the order of its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

# Keys whose items are written one per line.
BLOCKS = ("labels", "golden")


def render(content: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """``content`` as YAML: sections after an empty line, values on one line.

    ``comments`` maps keys, such as ``tokenization.max_tokens``, to the comments after them; ``""`` to the first line.
    """
    lines = [f"# {comments['']}"]
    block = False
    for key, value in content.items():
        comment = _comment(comments, key)
        # A section stands between empty lines.
        is_block = key in BLOCKS or isinstance(value, dict)
        lines += [""] if is_block or block else []
        block = is_block
        if key in BLOCKS:
            lines += [f"{key}:{comment}", *(f"  - {_flow(item)}" for item in value)]
        elif isinstance(value, dict):
            lines.append(f"{key}:{comment}")
            lines += [f"  {name}: {_flow(item)}{_comment(comments, f'{key}.{name}')}" for name, item in value.items()]
        else:
            lines.append(f"{key}: {_flow(value)}{comment}")
    return "\n".join(lines) + "\n"


def _comment(comments: Mapping[str, str], key: str) -> str:
    return f" # {comments[key]}" if comments.get(key) else ""


def _flow(value: Any) -> str:
    options: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "sort_keys": False}
    text = str(yaml.safe_dump(value, width=float("inf"), **options)).removesuffix("\n").removesuffix("\n...")
    # YAML would spread a text with a line break over lines; JSON, which is YAML too, does not.
    return json.dumps(value, ensure_ascii=False) if "\n" in text else text
