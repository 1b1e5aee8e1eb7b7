"""The two-way (run x example) estimator: every hypothesis is a vector of weights over cells, every variance a quadratic form.

A cell is the mean score of one arm in one language. Three Gram matrices over cells hold what runs, examples and their
combinations share, so that one formula covers gains, interactions, pooled contrasts, runs shared by languages, parallel test
sets and clusters of examples (multiway cluster-robust variance: Cameron, Gelbach and Miller 2011; Owen 2007 for the crossed case).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from raystilts.stats.plan import StatsError

Floats = npt.NDArray[np.float64]
NOTHING = 1e-18
"""Variances (points squared) below this are rounding of zero."""


@dataclass(frozen=True, eq=False)
class Cell:
    """An arm in one language.

    scores: (S,) points. influence: (S, G) points, what each cluster of examples adds to each run's score; rows sum to zero.
    clusters: (G,) codes of clusters, shared with other languages where test sets are parallel.
    units: (S,) codes of what was drawn at random: the run, or what several runs share (a seed, an intermediate checkpoint).
    trained: False for a deterministic arm (one run, nothing was trained): its seed variance is zero by construction.
    """

    scores: Floats
    influence: Floats
    clusters: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    trained: bool = True


@dataclass(frozen=True, eq=False)
class Moments:
    """Means and Gram matrices of C cells: theta (C,) points; seed, example, both (C, C) points squared.

    size: (C,) units of each cell (0 where deterministic). clusters: (C,). seed_link, example_link: (C, C), who shares units, clusters.
    """

    theta: Floats
    seed: Floats
    example: Floats
    both: Floats
    size: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.int64]
    seed_link: npt.NDArray[np.bool_]
    example_link: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """theta (points), its variance and Satterthwaite degrees of freedom; parts of the variance in points squared.

    seed_parts: one (variance, units) per independent set of runs. v = max(v_seed + v_example - v_both, v_seed, v_example).
    """

    theta: float
    v: float
    df: float
    v_seed: float
    v_example: float
    v_both: float
    df_example: float
    seed_parts: tuple[tuple[float, int], ...] = ()

    @property
    def se(self) -> float:
        """Standard error, points."""
        return float(np.sqrt(self.v))

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """The two-way t interval theta -+ t(df) se, points."""
        half = t_quantile(1 - alpha / 2, self.df) * self.se
        return self.theta - half, self.theta + half

    def p(self, null: float = 0.0) -> float:
        """Two-sided p-value of theta = null; NaN where nothing varies."""
        return min(1.0, 2 * min(self.p_above(null), self.p_below(null))) if self.v > NOTHING else float("nan")

    def p_above(self, null: float = 0.0) -> float:
        """One-sided p-value for theta > null; NaN where nothing varies."""
        return t_upper((self.theta - null) / self.se, self.df) if self.v > NOTHING else float("nan")

    def p_below(self, null: float = 0.0) -> float:
        """One-sided p-value for theta < null; NaN where nothing varies."""
        return t_upper((null - self.theta) / self.se, self.df) if self.v > NOTHING else float("nan")


def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t; normal where df is infinite.

    >>> round(t_quantile(0.975, 4), 3)
    2.776
    """
    return float(special.stdtrit(df, probability)) if np.isfinite(df) and df < 1e9 else float(special.ndtri(probability))


def t_upper(value: float, df: float) -> float:
    """P(T > value) of Student's t; normal where df is infinite.

    >>> round(t_upper(2.776, 4), 3)
    0.025
    """
    return float(special.stdtr(df, -value)) if np.isfinite(df) and df < 1e9 else float(special.ndtr(-value))


def moments(cells: Sequence[Cell]) -> Moments:
    """Means and Gram matrices of cells (docs/explanation/intervals.md, general form).

    Influences are scaled by sqrt(U / (U - 1)) over the U units of a cell and by sqrt(G / (G - 1)) over its G clusters, which makes
    complete designs unbiased and keeps every Gram matrix positive semidefinite where languages miss runs.

    >>> cell = Cell(np.array([50.0, 54.0]), np.array([[1.0, -1.0], [3.0, -3.0]]), np.arange(2), np.arange(2))
    >>> found = moments([cell])
    >>> found.theta, found.seed, found.example  # var(50, 54) / 2; 2 * (2 * 2 + 2 * 2)
    (array([52.]), array([[4.]]), array([[16.]]))
    """
    count = len(cells)
    size = np.array([len(set(cell.units.tolist())) if cell.trained else 0 for cell in cells], dtype=np.int64)
    clusters = np.array([len(cell.clusters) for cell in cells], dtype=np.int64)
    theta = np.array([cell.scores.mean() for cell in cells])
    units = {unit: i for i, unit in enumerate(sorted({int(u) for cell in cells if cell.trained for u in cell.units}))}
    psi = np.zeros((count, len(units)))
    member = np.zeros((count, len(units)), dtype=bool)
    for c, cell in enumerate(cells):
        if cell.trained and size[c] > 1:
            at = [units[int(u)] for u in cell.units]
            np.add.at(psi[c], at, np.sqrt(size[c] / (size[c] - 1)) * (cell.scores - theta[c]) / len(cell.scores))
        if cell.trained:
            member[c, [units[int(u)] for u in cell.units]] = True
    example, both = np.zeros((count, count)), np.zeros((count, count))
    example_link = np.zeros((count, count), dtype=bool)
    for group in _sharing(cells):
        here = np.ix_(group, group)
        example[here], both[here], example_link[here] = _over_examples([cells[c] for c in group], size[group])
    counts = member.astype(np.float64)
    return Moments(theta, psi @ psi.T, example, both, size, clusters, counts @ counts.T > 0, example_link)


def _sharing(cells: Sequence[Cell]) -> list[list[int]]:
    """Groups of cells whose test sets share clusters, directly or through others."""
    sets: dict[bytes, list[int]] = {}
    for c, cell in enumerate(cells):
        sets.setdefault(cell.clusters.tobytes(), []).append(c)
    distinct = list(sets.values())
    owner: dict[int, int] = {}
    parent = list(range(len(distinct)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, members in enumerate(distinct):
        for code in cells[members[0]].clusters.tolist():
            j = owner.setdefault(code, i)
            if root(j) != root(i):
                parent[root(i)] = root(j)
    groups: dict[int, list[int]] = {}
    for i, members in enumerate(distinct):
        groups.setdefault(root(i), []).extend(members)
    return list(groups.values())


def _over_examples(cells: Sequence[Cell], size: npt.NDArray[np.int64]) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Gram matrices over clusters and over (unit, cluster) pairs of cells that share clusters, and which of them do so directly."""
    codes = np.unique(np.concatenate([cell.clusters for cell in cells]))
    phi = np.zeros((len(cells), len(codes)))
    present = np.zeros((len(cells), len(codes)))
    of_unit: dict[int, list[tuple[int, Floats]]] = {}
    for c, cell in enumerate(cells):
        at = np.searchsorted(codes, cell.clusters)
        num_clusters = len(cell.clusters)
        scale = np.sqrt(num_clusters / (num_clusters - 1)) if num_clusters > 1 else 0.0
        mean = cell.influence.mean(axis=0)
        phi[c, at] = scale * mean
        present[c, at] = 1
        if cell.trained and size[c] > 1:
            centred = (scale * np.sqrt(size[c] / (size[c] - 1)) / len(cell.scores)) * (cell.influence - mean)
            for unit in sorted(set(cell.units.tolist())):
                rho = np.zeros(len(codes))
                rho[at] = centred[cell.units == unit].sum(axis=0)
                of_unit.setdefault(unit, []).append((c, rho))
    both = np.zeros((len(cells), len(cells)))
    for found in of_unit.values():
        rows = np.array([rho for _, rho in found])
        members = [c for c, _ in found]
        both[np.ix_(members, members)] += rows @ rows.T
    return phi @ phi.T, both, present @ present.T > 0


def estimate(found: Moments, weights: npt.ArrayLike, theta: float | None = None) -> Estimate:
    """The two-way estimate of sum_c weights_c theta_c, weights (C,); `theta` replaces it where weights are a gradient (delta method).

    V and df as in docs/explanation/intervals.md: seed variances enter Satterthwaite's formula one per independent set of runs.

    >>> cell = lambda a, u: Cell(np.array(a), np.zeros((2, 3)), np.arange(3), np.array(u))
    >>> found = moments([cell([50.0, 54.0], [0, 1]), cell([40.0, 41.0], [2, 3])])
    >>> round(estimate(found, [1, -1]).theta, 3), round(estimate(found, [1, -1]).v, 3)
    (11.5, 4.25)
    """
    full = np.asarray(weights, dtype=np.float64)
    at = np.flatnonzero(full)
    w = full[at]
    here = np.ix_(at, at)
    seed = np.outer(w, w) * found.seed[here]
    example = np.outer(w, w) * found.example[here]
    v_seed, v_example = float(seed.sum()), float(example.sum())
    v_both = float(w @ found.both[here] @ w)
    v_seed, v_example, v_both = (x if x > NOTHING else 0.0 for x in (v_seed, v_example, v_both))
    v = max(v_seed + v_example - v_both, v_seed, v_example)
    parts = tuple(_parts(seed, found.seed_link[here], found.size[at]))
    examples = _parts(example, found.example_link[here], found.clusters[at])
    spread = sum(part**2 / (units - 1) for part, units in examples if units > 1)
    df_example = v_example**2 / spread if spread > 0 < v_example else float(max(found.clusters[at].min() - 1, 1)) if len(at) else 1.0
    uncertainty = sum(part**2 / (units - 1) for part, units in parts if units > 1) + max(v - v_seed, 0.0) ** 2 / df_example
    df = v**2 / uncertainty if uncertainty > 0 else float("inf")
    value = float(w @ found.theta[at]) if theta is None else theta
    return Estimate(value, v, df, v_seed, v_example, v_both, df_example, parts)


def _parts(gram: Floats, link: npt.NDArray[np.bool_], size: npt.NDArray[np.int64]) -> list[tuple[float, int]]:
    """Variance and number of units of each set of cells that share units (the smallest cell's number where cells differ)."""
    if not len(size):
        return []
    label = _components(link)
    result = []
    for part in np.unique(label):
        members = np.flatnonzero(label == part)
        if size[members].min() > 0:
            result.append((max(float(gram[np.ix_(members, members)].sum()), 0.0), int(size[members].min())))
    return result


def _components(link: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(C,) the first member of the connected component of each cell; link: (C, C), symmetric."""
    label = np.arange(len(link))
    while True:
        lower = np.minimum(np.where(link, label, len(link)).min(axis=1), label)
        if np.array_equal(lower, label):
            return label
        label = lower


def ratio_arrays(statistics: npt.ArrayLike, metric: str) -> tuple[Floats, Floats]:
    """Numerators and denominators (S, n) of a metric from per-example statistics: (S, n) or (S, n, 1) of a mean, (S, n, 3) of micro-F1.

    >>> ratio_arrays([[[1, 2, 3]]], "micro_f1")
    (array([[2.]]), array([[5.]]))
    """
    values = np.asarray(statistics, dtype=np.float64)
    if metric == "micro_f1":
        if values.ndim != 3 or values.shape[2] != 3:
            raise StatsError(f"micro_f1 needs an array (runs, examples, 3), not {values.shape}")
        return 2 * values[:, :, 0], values[:, :, 1] + values[:, :, 2]
    values = values[:, :, 0] if values.ndim == 3 else values
    return values, np.ones_like(values)


def cluster_sums(values: Floats, clusters: npt.NDArray[Any]) -> Floats:
    """(S, n) values summed over examples of one cluster: (S, G), clusters (n,) in sorted order.

    >>> cluster_sums(np.array([[1.0, 2.0, 4.0]]), np.array(["b", "a", "b"]))
    array([[2., 5.]])
    """
    order = np.argsort(clusters, kind="stable")
    first = np.flatnonzero(np.append(True, clusters[order][1:] != clusters[order][:-1])[: len(clusters)])
    if len(first) == len(clusters):
        return values[:, order]
    result: Floats = np.add.reduceat(values[:, order], first, axis=1)
    return result


def arm_cell(num: Floats, den: Floats, first_unit: int, clusters: npt.ArrayLike | None = None, trained: bool = True) -> Cell:
    """A cell from numerators and denominators (S, n) of one arm; units are numbered from `first_unit`; clusters (n,) default to examples.

    >>> arm_cell(np.array([[1.0, 0.0]]), np.ones((1, 2)), 0).influence
    array([[ 25., -25.]])
    """
    total = den.sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    share = num.sum(axis=1) / safe
    influence = 100 * (num - share[:, None] * den) / safe[:, None]
    if clusters is not None:
        influence = cluster_sums(influence, np.asarray(clusters))
    return Cell(100 * share, influence, np.arange(influence.shape[1]), first_unit + np.arange(len(num)), trained)


def two_way(
    arms: Sequence[npt.ArrayLike], weights: Sequence[float], metric: str = "accuracy", clusters: npt.ArrayLike | None = None
) -> Estimate:
    """The estimate of sum_a weights_a (mean score of arm a) on one test set, in points.

    arms: arrays of per-example statistics, (S_a, n) of values 0 to 1 for a mean, (S_a, n, 3) for micro-F1; n examples paired over arms.
    clusters: (n,) labels of dependent examples, or None. Formula: docs/explanation/intervals.md, "Estimator".

    >>> rng = np.random.default_rng(0)
    >>> found = two_way([rng.random((3, 50)) < 0.8, rng.random((5, 50)) < 0.6], [1, -1])
    >>> print(f"{found.theta:.2f} {found.se:.2f} {found.df:.1f}")
    15.47 5.03 44.6
    """
    if len(arms) != len(weights):
        raise StatsError(f"two_way got {len(arms)} arms and {len(weights)} weights: one weight per arm")
    cells, unit = [], 0
    for arm in arms:
        num, den = ratio_arrays(arm, metric)
        if len(num) < 2:
            raise StatsError("two_way needs at least 2 runs in every arm: one run says nothing about the variance between seeds")
        cells.append(arm_cell(num, den, unit, clusters))
        unit += len(num)
    if len({cell.influence.shape[1] for cell in cells}) > 1:
        raise StatsError("the arms have different numbers of examples: examples must be paired between arms")
    return estimate(moments(cells), np.asarray(weights, dtype=np.float64))
