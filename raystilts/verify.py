"""Whether a store still holds what was written: every file of every stage beside the hashes in its record."""

from __future__ import annotations

from dataclasses import dataclass, field

from raystilts.errors import UserError
from raystilts.record import Damage
from raystilts.store import Store


@dataclass
class Verified:
    """What a store holds. problems: of each broken stage. parents: key -> those of the stages it is made from.

    unsealed: keys whose records are from before records had seals.
    """

    num_files: int = 0
    num_bytes: int = 0
    problems: dict[str, list[Damage]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    unsealed: list[str] = field(default_factory=list)

    def needing(self) -> dict[str, str]:
        """Keys of sound stages that stand on a broken one, each with the nearest such."""
        found: dict[str, str] = {}
        for key in self.parents.keys() - self.problems.keys():
            seen, near = {key}, [key]
            while near and key not in found:
                near = [above for below in near for above in self.parents.get(below, ()) if above not in seen]
                seen.update(near)
                if broken := [above for above in near if above in self.problems]:
                    found[key] = broken[0]
        return found

    def label(self, key: str) -> str:
        """What a person calls a stage."""
        return f"{self.labels[key]} ({key})" if key in self.labels else key


def verify(store: Store) -> Verified:
    """Compare all files of all stages with their records. Raises UserError where the store is of another schema.

    A stage's name is known from its own record or, where that is broken, from those of the stages that stand on it.
    """
    store.check_schema()
    found = Verified()
    above: dict[str, tuple[tuple[str, ...], str]] = {}
    for key in sorted(store.all_keys()):
        if problems := store.damage(key):
            found.problems[key] = problems
        try:
            record = store.record(key)
        except UserError:
            continue
        files = record.get("files", {}).values()
        found.num_files += len(files)
        found.num_bytes += sum(of["bytes"] for of in files)
        found.labels[key] = record.get("label", key)
        lineage = record.get("lineage", [])
        for older, one in zip([None, *lineage], lineage, strict=False):
            parents = tuple(one.get("averaged") or ([older["key"]] if older else []))
            above[one["key"]] = parents, " ".join(filter(None, (one["phase"], one["task"])))
        found.parents[key] = above[key][0] if lineage else ()
        if "seal" not in record:
            found.unsealed.append(key)
    for key in found.problems.keys() & above.keys():
        found.parents.setdefault(key, above[key][0])
        found.labels.setdefault(key, above[key][1])
    return found


def repair(store: Store, found: Verified) -> dict[str, str]:
    """Take the stages out of the store of which something is lost. Returns where each is kept."""
    kept = {}
    for key, problems in found.problems.items():
        if any(problem.lost for problem in problems):
            with store.lock(key):
                kept[key] = store.set_aside(key)
    return kept


def lines(store: Store, found: Verified, kept: dict[str, str] | None) -> list[str]:
    """What a person is told. kept: what was taken out; None where nothing was to be."""
    told = [f"{store.shown}: {len(store.all_keys())} stages, {found.num_files} files, {found.num_bytes / 1e6:.1f} MB"]
    told += [f"broken: {found.label(key)}: {one.file} {one.what}" for key, problems in found.problems.items() for one in problems]
    told += [f"needs it: {found.label(key)} stands on {found.label(of)}" for key, of in sorted(found.needing().items())]
    if found.unsealed:
        told.append(
            f"{len(found.unsealed)} records are from before there were seals: their files were compared, they themselves could not be."
        )
    if not found.problems:
        return [*told, "every file is as it was written."]
    told.append(f"{len(found.problems)} stages are broken, and {len(found.needing())} stand on them.")
    if kept is None:
        return [*told, "raystilts verify --repair takes them out; the next raystilts run makes them anew, with what stands on them."]
    told += [f"taken out: {found.label(key)}, kept as {place}" for key, place in kept.items()]
    left = found.problems.keys() - kept.keys()
    told += [f"left as it is: {found.label(key)}; see to its files yourself." for key in sorted(left)]
    return [*told, "the next raystilts run makes anew what was taken out, with what stands on it, and nothing else."] if kept else told
