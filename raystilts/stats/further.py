"""Tables beside an analysis, for who asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from raystilts.stats.analysis import Analysis
from raystilts.stats.batches import Examples
from raystilts.stats.ledger import judge
from raystilts.stats.plan import Plan, StatsError
from raystilts.stats.practices import alternatives_table
from raystilts.stats.selection import selection_table

FURTHER: Mapping[str, str] = {
    "practices": "what other practices (Welch, one seed, percentile bootstrap, ASO, ...) would have claimed of the same data",
    "selection": "the gain of the best intermediate task, chosen on English dev inside the bootstrap, beside the oracle's",
    "ledger": "published claims, each supported, contradicted or neither by this study",
}
"""Name of a table -> what it says."""


def further_tables(names: Sequence[str], found: Analysis, runs: pa.Table, examples: Examples, plan: Plan) -> dict[str, pa.Table]:
    """Those of the tables `practices` (alternatives_table), `selection` (selection_table) and `ledger` (judge) that are asked for.

    found: what `analyse` said of these runs, examples and plan.

    >>> from raystilts.stats import Contrast, analyse
    >>> runs = pa.table({"run_id": ["a1", "a2", "b1", "b2"], "seed": [1, 2, 1, 2], "encoder": ["a", "a", "b", "b"]})
    >>> rows = [(run, "sw", str(i), float(run[0] == "a" or i % 9 == 0)) for run in ("a1", "a2", "b1", "b2") for i in range(40)]
    >>> examples = pa.table(dict(zip(["run_id", "language", "example_id", "s0"], map(list, zip(*rows)))))
    >>> plan = Plan((Contrast("a-b", {"encoder": "a"}, {"encoder": "b"}),), collapsed=("all",), resamples=100)
    >>> made = further_tables(["ledger"], analyse(runs, examples, plan), runs, examples, plan)
    >>> set(made["ledger"]["verdict"].to_pylist())
    {'not tested'}
    """
    makers: Mapping[str, Callable[[], pa.Table]] = {
        "practices": lambda: alternatives_table(runs, examples, plan),
        "selection": lambda: selection_table(runs, examples, plan),
        "ledger": lambda: judge(found, margin=plan.margin, alpha=plan.alpha, policy=plan.collapsed[0]),
    }
    unknown = [name for name in names if name not in makers]
    if unknown:
        raise StatsError(f"there is no table {unknown[0]!r}: choose from {', '.join(makers)}")
    return {name: makers[name]() for name in dict.fromkeys(names)}
