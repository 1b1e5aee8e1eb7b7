"""What an analysis may claim where seeds were added after looking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from raystilts.stats.analysis import Analysis
from raystilts.stats.plan import Plan

REASON = "seeds were added where gains were undecided, and this claim needs all planned seeds of every arm that it is about"
NUMBERS = {
    "interactions": ("theta", "se", "df", "lo", "hi", "boot_lo", "boot_hi", "p", "p_holm"),
    "pooled": ("theta", "se", "df", "lo", "hi", "p", "p_holm", "tau", "i2"),
    "partial_conjunction": ("at_least", "at_least_losses"),
    "scaling": (
        *("theta", "lo", "hi", "p_superior", "p_equivalent", "p_noninferior"),
        *("p_two_sided_holm", "p_equivalent_holm", "p_noninferior_holm"),
    ),
    "resource": ("theta", "se", "df", "lo", "hi", "p", "p_holm"),
    "trend": ("theta", "lo", "hi"),
}  # fmt: skip
"""Per table the columns that a refused row leaves empty."""


def by_looks(found: Analysis, looked: Mapping[str, pa.Table], plan: Plan, complete: Collection[str]) -> Analysis:
    """The analysis with the claims that are valid where seeds were added in looks.

    looked: policy -> table of `seed_looks`. Gains claim what their looks decided ("within margin" and what is open are "undecided").
    Their intervals and p-values stay as for a fixed number of seeds: to be read, not to claim by. All other claims (pooled, in at least
    k languages, interactions, scaling, resource levels) suppose that the number of seeds was not chosen by looking; they are refused
    but for the contrasts in `complete`, whose arms have the seeds of the last look.

    >>> from raystilts.stats import Contrast, analyse, seed_looks
    >>> runs = pa.table({"run_id": ["a1", "a2", "b1", "b2"], "seed": [1, 2, 1, 2], "encoder": ["a", "a", "b", "b"]})
    >>> rows = [(run, "sw", str(i), float(run[0] == "a" or i % 9 == 0)) for run in ("a1", "a2", "b1", "b2") for i in range(400)]
    >>> examples = pa.table(dict(zip(["run_id", "language", "example_id", "s0"], map(list, zip(*rows)))))
    >>> plan = Plan((Contrast("a-b", {"encoder": "a"}, {"encoder": "b"}),), collapsed=("all",), resamples=100)
    >>> looked = {"all": seed_looks(runs, examples, plan, (2, 3), "pocock")}
    >>> claimed = by_looks(analyse(runs, examples, plan), looked, plan, complete=())
    >>> claimed.gains["claim"].to_pylist(), claimed.pooled["theta"].null_count == len(claimed.pooled)
    (['gain'], True)
    """
    status = {(policy, row["contrast"], row["language"]): row["status"] for policy, table in looked.items() for row in table.to_pylist()}
    short = {contrast.name for contrast in plan.contrasts} - set(complete)
    short |= {interaction.name for interaction in plan.interactions if {interaction.plus, interaction.minus} & short}
    others = {name: _refused(getattr(found, name), columns, short) for name, columns in NUMBERS.items()}
    return replace(found, gains=_claimed(found.gains, status), **others)


def _claimed(gains: pa.Table, status: Mapping[tuple[str, str, str], str]) -> pa.Table:
    """Gains with the claims of the looks."""
    claims = []
    for row in gains.select(["policy", "contrast", "language", "claim"]).to_pylist():
        known = status.get((row["policy"], row["contrast"], row["language"]), "open")
        decided = known if known in ("gain", "loss") else "undecided"
        claims.append("refused" if "refused" in (row["claim"], known) else decided)
    return gains.set_column(gains.column_names.index("claim"), "claim", pa.array(claims, pa.string()))


def _refused(table: pa.Table, columns: Sequence[str], names: set[str]) -> pa.Table:
    """The table with the rows of those contrasts refused: a reason, and no number."""
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        if row["contrast"] in names and not row.get("reason"):
            row.update(dict.fromkeys(columns), reason=REASON)
            row.update({verdict: "refused" for verdict in ("claim", "verdict") if verdict in row})
            if "agrees" in row:
                row["agrees"] = False
    return pa.Table.from_pylist(rows, table.schema)
