"""Data sets of the Hugging Face Hub, at pinned commits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from raystilts.errors import UserError, nearest
from raystilts.readers.files import filled
from raystilts.readers.rows import Reading, Row, each, is_labelled, names_of, refuse_row
from raystilts.task import Kind, Source


def revision_of(source: Source) -> str:
    """The pinned commit of the Hub data set; raises UserError where none could be checked and pinned."""
    if not source.dataset or not source.revision:
        name, why = source.dataset or next(iter(source.files), "this source"), f" ({source.exclude})" if source.exclude else ""
        raise UserError(
            f"{name} cannot be read from the Hub, as no commit is pinned{why}: use --data with a local mirror; "
            f"`--data .` where its paths begin in the current folder."
        )
    return source.revision


def place_of(source: Source, code: str) -> str:
    """How messages name the table that a source reads."""
    return f"{source.dataset} ({filled(source.subset, code, source.codes)}, {filled(source.split, code, source.codes)})"


def hub_rows(source: Source, kind: Kind, code: str) -> Iterator[Row]:
    """Rows of a parquet data set of the Hub, or of its local cache; class numbers become their names."""
    revision, subset, split = revision_of(source), filled(source.subset, code, source.codes), filled(source.split, code, source.codes)
    import datasets  # noqa: PLC0415  seconds to load, and needed for the Hub only

    try:
        table = datasets.load_dataset(source.dataset, subset or None, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{source.dataset} ({subset}, {split}, {revision}) could not be loaded from the Hub ({reason}): check the connection and "
            f"HF_HUB_OFFLINE, or use --data with a local mirror."
        ) from error
    # Offline, `datasets` falls back to whatever version is in its cache.
    origins = [url for url in table.info.download_checksums or () if url.startswith(f"hf://datasets/{source.dataset}@")]
    if any(f"@{revision}/" not in url for url in origins):
        raise UserError(f"the local cache holds {origins[0]}, but commit {revision} is wanted: run once with a connection, or use --data.")
    column, start = source.begins or ("", "")
    start = filled(start, code, source.codes).casefold()
    needed = names_of((*source.columns, source.id, source.cluster, column))
    missing = [name for name in needed if name not in table.column_names]
    where = place_of(source, code)
    if missing:
        raise UserError(f"{where} has no column {missing[0]!r}; {nearest(missing[0], table.column_names)}")
    label = source.columns[-1] if is_labelled(source, kind) else ""
    feature = table.features.get(label)
    names = getattr(getattr(feature, "feature", feature), "names", None)

    def records() -> Iterator[tuple[int, dict[str, Any]]]:
        for line, record in enumerate(table.select_columns(needed), 1):
            if column and not str(record[column]).casefold().startswith(start):
                continue
            if names and str(record[label]) not in dict(source.values):
                record[label] = _named(record[label], names, f"{where}, row {line}")
            yield line, record

    yield from each(records(), source.columns, Reading((), source, kind, code, refuse_row), where)


def _named(value: Any, names: Sequence[str], place: str) -> Any:
    if isinstance(value, list):
        return [_named(item, names, place) for item in value]
    if value is None or not 0 <= value < len(names):
        raise UserError(f"{place}: the label {value} has no name; hidden test labels cannot be scored.")
    return names[value]
