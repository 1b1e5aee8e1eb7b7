"""A plan of contrasts written in TOML -> raystilts.stats.Plan."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from raystilts import stats
from raystilts.errors import UserError, nearest

LOW = "low"
"""A group of this name holds the low-resource languages, unless the plan names another as low_group."""
KEYS: Mapping[str, tuple[str, ...]] = {
    "the plan": (
        *("title", "question", "metric", "margin", "alpha", "resamples", "seed", "paired_seeds", "low_group"),
        *("groups", "covariate", "families", "contrasts", "interactions", "policy"),
    ),
    "contrasts": ("name", "plus", "minus", "family", "labels"),
    "interactions": ("name", "plus", "minus", "labels"),
    "policy": ("collapsed", "duplicates"),
}


def read_plan(path: Path) -> stats.Plan:
    """The plan in a TOML file; an unknown key, a wrong type or a contradiction raises UserError with one sentence."""
    written = read_toml(path)
    _known(written, "the plan", path)
    policy = _typed(written, "policy", dict, {}, path)
    _known(policy, "policy", path)
    contrasts = _entries(written, "contrasts", path)
    if not contrasts:
        raise UserError(f"{path}: the plan has no contrasts; add [[contrasts]] with name, plus and minus.")
    family = _family_of(_typed(written, "families", dict, {}, path), contrasts, path)
    settings = {
        "metric": _typed(written, "metric", (str, dict), "accuracy", path),
        "margin": _typed(written, "margin", (int, float), 1.0, path),
        "alpha": _typed(written, "alpha", (int, float), 0.05, path),
        "resamples": _typed(written, "resamples", int, 10_000, path),
        "seed": _typed(written, "seed", int, 0, path),
        "paired_seeds": _typed(written, "paired_seeds", bool, False, path),
        "groups": {name: _texts(members, f"group {name!r}", path) for name, members in _typed(written, "groups", dict, {}, path).items()},
        "low_group": _typed(written, "low_group", str, None, path),
        "covariate": _typed(written, "covariate", dict, {}, path),
        "collapsed": _texts(policy.get("collapsed", list(stats.POLICIES)), "policy.collapsed", path),
        "duplicates": _typed(policy, "duplicates", str, "drop", path),
    }
    for name, of, kinds in (("metric", settings["metric"], str), ("covariate", settings["covariate"], (int, float))):
        if isinstance(of, dict) and not all(isinstance(value, kinds) for value in of.values()):
            raise UserError(f"{path}: every value of {name} must be {'a text' if kinds is str else 'a number'}.")
    if settings["low_group"] is None and LOW in settings["groups"]:
        settings["low_group"] = LOW
    try:
        made = tuple(_contrast(entry, family.get(entry["name"], ""), path) for entry in contrasts)
        both = {c.name: c for c in made}
        interactions = tuple(_interaction(entry, both, path) for entry in _entries(written, "interactions", path))
        return stats.Plan(contrasts=made, interactions=interactions, **settings)
    except stats.StatsError as error:
        raise UserError(f"{path}: {error}.") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The file as it is written; raises UserError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); --plan names a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid TOML ({error}); correct the file.") from error


def _known(entry: Mapping[str, Any], where: str, path: Path) -> None:
    for key in entry:
        if key not in KEYS[where]:
            raise UserError(f"{path}: {where} has the unknown key {key!r}; {nearest(key, KEYS[where])}")


def _typed(entry: Mapping[str, Any], key: str, kinds: type | tuple[type, ...], default: Any, path: Path) -> Any:
    value = entry.get(key, default)
    expected = kinds if isinstance(kinds, tuple) else (kinds,)
    if key in entry and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        words = {str: "a text", dict: "a table", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
        raise UserError(f"{path}: {key} is {value!r}; it must be {' or '.join(words[kind] for kind in expected)}.")
    return value


def _texts(value: Any, what: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UserError(f"{path}: {what} is {value!r}; it must be a list of texts.")
    return tuple(value)


def _entries(written: Mapping[str, Any], kind: str, path: Path) -> list[dict[str, Any]]:
    """The tables [[contrasts]] or [[interactions]]."""
    entries = written.get(kind, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: {kind} must be written as [[{kind}]] with name, plus and minus.")
    for entry in entries:
        _known(entry, kind, path)
        for key in ("name", "plus", "minus"):
            if key not in entry:
                raise UserError(f"{path}: one of the {kind} ({entry.get('name', 'unnamed')}) has no {key}; it needs name, plus and minus.")
        _typed(entry, "name", str, "", path)
    return entries


def _family_of(families: Mapping[str, Any], contrasts: Iterable[Mapping[str, Any]], path: Path) -> dict[str, str]:
    """Contrast -> family, of the table `families` (family -> contrasts)."""
    names, found = [entry["name"] for entry in contrasts], {}
    for family, members in families.items():
        for name in _texts(members, f"family {family!r}", path):
            if name not in names:
                raise UserError(f"{path}: family {family!r} names the unknown contrast {name!r}; {nearest(name, names)}")
            found[name] = family
    return found


def _contrast(entry: Mapping[str, Any], family: str, path: Path) -> stats.Contrast:
    name = entry["name"]
    sides = [_typed(entry, side, dict, {}, path) for side in ("plus", "minus")]
    for side in sides:
        for column, value in side.items():
            if not isinstance(value, (str, int, float, bool)):
                raise UserError(f"{path}: contrast {name!r} selects {column} by {value!r}; give one text or number.")
    plus, minus = sides
    labels = _typed(entry, "labels", dict, {}, path) or {
        column: str(plus[column])
        for column in ("encoder", "intermediate", "method", "target")
        if column in plus and (plus[column] == minus.get(column) or column in ("intermediate", "method"))
    }
    own = _typed(entry, "family", str, family, path)
    return stats.Contrast(name, plus, minus, own, {key: str(value) for key, value in labels.items()})


def _interaction(entry: Mapping[str, Any], contrasts: Mapping[str, stats.Contrast], path: Path) -> stats.Interaction:
    plus, minus = (_typed(entry, side, str, "", path) for side in ("plus", "minus"))
    for name in (plus, minus):
        if name not in contrasts:
            raise UserError(f"{path}: interaction {entry['name']!r} names the contrast {name!r}; {nearest(name, contrasts)}")
    labels = _typed(entry, "labels", dict, {}, path)
    if not labels:
        large, small = contrasts[plus].labels, contrasts[minus].labels
        labels = {key: value for key, value in large.items() if small.get(key) == value}
        if "encoder" in large and "encoder" in small and "encoder" not in labels:
            labels["encoder"] = f"{small['encoder']} to {large['encoder']}"
    return stats.Interaction(entry["name"], plus, minus, {key: str(value) for key, value in labels.items()})
