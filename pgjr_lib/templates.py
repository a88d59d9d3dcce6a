"""Filling HTML templates: every ``{{field}}`` in one pass, so that no value is searched for fields of its own."""

import json
import re
from pathlib import Path


def fill(template: Path, fields: dict[str, str]) -> str:
    """The text of ``template`` with its fields filled in; what is not data of a script is to be escaped already."""
    return re.sub(r"{{(\w+)}}", lambda field: fields[field[1]], template.read_text())


def script_data(value) -> str:
    """``value`` as JSON for a script element, which no text in it can end."""
    return json.dumps(value).replace("<", "\\u003c")
