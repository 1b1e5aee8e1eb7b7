"""Names come from studies, tables and files of other people: what would act on a terminal, a page or a parser is shown as a sign."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raystilts.report.story import TABLES, Analysis, Story

# Control characters beside tab and line ends (terminals obey them, XML has none), and marks that turn the direction of all text behind
# them: a name in Arabic or Hebrew needs none. What joins letters stays.
ACTIVE = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ufffe\\uffff]"
_ACTIVE = re.compile(ACTIVE)
_ARROW = re.sub(r"\\u(....)", r"\\x{\1}", ACTIVE)  # its regular expressions write characters in another way
SIGN = "\N{REPLACEMENT CHARACTER}"


def cleaned(analysis: Analysis, story: Story) -> tuple[Analysis, Story]:
    """The same with signs in place of active characters, in every name and text."""
    return SimpleNamespace(**{name: cleaned_table(getattr(analysis, name)) for name in TABLES}), _cleaned(story)


def cleaned_table(table: Any) -> Any:
    """A table whose columns of texts, and names of columns, hold no active characters."""
    for place, field in enumerate(table.schema):
        column, kind = table.column(place), field.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            table = table.set_column(place, field.name, pc.replace_substring_regex(column, _ARROW, SIGN))
        elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
            table = table.set_column(place, field, pa.chunked_array([pa.array(_cleaned(column.to_pylist()), kind)], kind))
    return table.rename_columns([_cleaned(name) for name in table.column_names])


def _cleaned(value: Any) -> Any:
    found = value
    if isinstance(value, str):
        found = _ACTIVE.sub(SIGN, value)
    elif isinstance(value, list | tuple):
        found = type(value)(_cleaned(item) for item in value)
    elif isinstance(value, Mapping):
        found = {_cleaned(key): _cleaned(item) for key, item in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = dataclasses.replace(value, **{field.name: _cleaned(getattr(value, field.name)) for field in dataclasses.fields(value)})
    return found
