"""Which cells are undecided after a look, and how many seeds the next one needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from stats_tables import as_tables

from raystilts.stats import Contrast, Plan, seed_looks, undecided

CONTRASTS = tuple(Contrast(name, {"arm": name}, {"arm": "none"}, family="f", labels={"intermediate": name}) for name in ("good", "useless"))
PLAN = Plan(CONTRASTS, collapsed=("all",), margin=0.5)


def study(seeds: dict[str, int], spoil: bool = False) -> tuple[pa.Table, pa.Table]:
    """Two languages of 80 examples; `good` is right 35 points more often. The first runs are the same whatever comes later."""
    runs, examples = [], []
    for a, (arm, number) in enumerate(seeds.items()):
        for seed in range(number):
            run = f"{arm}-{seed}"
            runs.append({"run_id": run, "arm": arm, "seed": seed})
            rng = np.random.default_rng([a, seed])
            share = 0.9 if arm == "good" else 0.55
            for language in ("sw", "yo"):
                for i, u in enumerate(rng.random(80)):
                    name = f"{i}{'x' if spoil and arm == 'useless' and language == 'yo' else ''}"
                    examples.append({"run_id": run, "language": language, "example_id": name, "s0": float(u < share)})
    return as_tables(runs, examples)


def looked(at_hand: dict[str, int], **more: Any) -> dict[tuple[str, str], tuple[str, int | None, int | None]]:
    """(contrast, language) -> status, seeds at which it was decided, seeds that the next look needs."""
    table = seed_looks(*study(at_hand), PLAN, spending="pocock", **more)
    return {(row["contrast"], row["language"]): (row["status"], row["decided_at"], row["next_seeds"]) for row in table.to_pylist()}


def test_a_look_decides_what_is_clear_and_asks_seeds_for_the_rest() -> None:
    """The large gain is claimed at three seeds and needs no more; the other goes on to five."""
    found = looked({"good": 3, "useless": 3, "none": 3})
    for language in ("sw", "yo"):
        assert found["good", language] == ("gain", 3, None)
        assert found["useless", language] == ("open", None, 5)


def test_more_seeds_change_no_earlier_look() -> None:
    """With five seeds for what was open only, the claims of the first look stand, and the next look needs eight; after the last, none."""
    assert looked({"good": 3, "useless": 5, "none": 5})["good", "sw"] == ("gain", 3, None)
    assert looked({"good": 3, "useless": 5, "none": 5})["useless", "sw"] == ("open", None, 8)
    assert looked({"good": 12, "useless": 4, "none": 12})["good", "sw"] == ("gain", 3, None)
    assert looked({"good": 3, "useless": 5, "none": 5}, seeds=(3, 5))["useless", "sw"] == ("open", None, None)


def test_a_look_waits_for_its_whole_family() -> None:
    """Where one contrast of a family lacks runs for the look, the look has not happened: the one that has them waits, claimed by nobody."""
    found = looked({"good": 3, "useless": 2, "none": 3})
    assert found["good", "sw"] == ("open", None, None)
    assert found["useless", "sw"] == ("open", None, 3)
    lines = undecided(seed_looks(*study({"good": 3, "useless": 2, "none": 3}), PLAN))
    assert lines[0].endswith("it waits for the rest of its family.")
    assert lines[1].endswith("the next look needs 3 seeds a side, there are 2 and 3.")


def test_what_is_refused_holds_nobody_up() -> None:
    """Examples that do not pair are refused with their sentence and ask for no seeds; the other hypotheses go on."""
    table = seed_looks(*study({"good": 3, "useless": 3, "none": 3}, spoil=True), PLAN, spending="pocock").to_pylist()
    rows = {(row["contrast"], row["language"]): row for row in table}
    assert rows["useless", "yo"]["status"] == "refused"
    assert "not scored on the same examples" in rows["useless", "yo"]["reason"]
    assert rows["useless", "yo"]["next_seeds"] is None
    assert rows["good", "yo"]["status"] == "gain"
    assert rows["good", "yo"]["intermediate"] == "good"


def test_a_narrow_interval_around_zero_stops_where_the_plan_says_so() -> None:
    """With a margin as wide as the scale, what shows no gain is within it after some look; without the rule it stays open to the end."""
    tables = study({"useless": 12, "none": 12})
    plan = Plan(CONTRASTS[1:], collapsed=("all",), margin=25.0)
    assert set(seed_looks(*tables, plan)["status"].to_pylist()) == {"within margin"}
    assert set(seed_looks(*tables, plan, within_margin=False)["status"].to_pylist()) == {"open"}
    assert undecided(seed_looks(*tables, plan)) == ["1 of 1 contrasts need no more seeds."]
