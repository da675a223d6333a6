"""Docstrings head an example with `Example:`; the reference shows it as code."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Read `Example:` as the section `Examples:`, and square brackets of shapes as text."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the heading in the docstring of every object."""
        if obj.docstring:
            text = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
            obj.docstring.value = re.sub(
                r"\[(\w+,)\]", r"\\[\1\\]", text
            )  # shapes such as ([gates,] rows) are no links
