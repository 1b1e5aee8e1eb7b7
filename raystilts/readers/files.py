"""Where the files of a source lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from raystilts import languages
from raystilts.errors import UserError
from raystilts.inside import leaves
from raystilts.task import Source


def filled(pattern: str, code: str, codes: Sequence[tuple[str, str]] = ()) -> str:
    """`pattern` with the language's code, other columns of the languages table, and `{code}` as `codes` has it filled in."""
    language = languages.find(code)
    columns = {name: value for name, value in dataclasses.asdict(language).items() if value not in (None, "")}
    columns["code"] = dict(codes).get(language.code, language.code)
    try:
        return pattern.format(language=language.code, **columns)
    except KeyError as error:
        raise UserError(f"the languages table has no {error.args[0]!r} for {language.code!r}, which {pattern!r} needs.") from None


def paths_of(source: Source, code: str, data: Path) -> list[Path]:
    """The files of a source in the language `code`; raises UserError where one is missing, or named outside of `data`.

    `data` and the data sets in it may be symbolic links.
    """
    if not source.files:
        raise UserError(f"{source.dataset} is not read from local files: run without --data.")
    names = [filled(name, code, source.codes) for name in source.files]
    if (outside := next(filter(leaves, names), None)) is not None:
        raise UserError(f"the file {outside!r} of a source is not below --data: name it from there, without a leading / and without `..`.")
    paths = [data / name for name in names]
    for path in paths:
        if not path.is_file():
            what = f" ({source.exclude})" if source.exclude else ""
            raise UserError(f"{path} does not exist: put the original file there{what}, or name another folder with --data.")
    return paths
