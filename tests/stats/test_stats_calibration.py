"""Small simulations: intervals cover, and studies without effects make no claims (analysis/ holds the large ones)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raystilts.stats import Contrast, Interaction, Plan, analyse, at_least, calibrated, crossed_bootstrap, two_way

CONTRASTS = tuple(
    Contrast(encoder, {"encoder": encoder, "intermediate": "mnli"}, {"encoder": encoder, "intermediate": "none"})
    for encoder in ("base", "large")
)


def logistic(x: np.ndarray) -> np.ndarray:
    """Log-odds as shares."""
    return 1 / (1 + np.exp(-x))


def f1_arms(rng: np.random.Generator, size: int, n: int, run_sd: float) -> list[np.ndarray]:
    """Two arms (S, n, 3) of span counts under a two-way logistic model: run and example effects; the second arm has lower recall."""
    gold = rng.poisson(1.2, n)
    difficulty = rng.normal(0, 1, n)
    arms = []
    for shift in (0.3, 0.0):
        chance = logistic(1.0 + shift + rng.normal(0, run_sd, (size, 1)) + difficulty)
        true = rng.binomial(gold, chance)
        arms.append(np.stack([true, true + rng.poisson(0.2, (size, n)), np.broadcast_to(gold, (size, n))], axis=2).astype(float))
    return arms


@pytest.mark.parametrize(("run_sd", "size"), [(0.05, 3), (0.3, 3), (0.3, 10)])
def test_intervals_cover(run_sd: float, size: int) -> None:
    """Both printed 95 % intervals cover the true F1 gain in about 95 % of simulated experiments, where an example-only one does not."""
    rng = np.random.default_rng(1)
    truth = np.mean([two_way(f1_arms(rng, 40, 8000, run_sd), [1.0, -1.0], "micro_f1").theta for _ in range(30)])
    hits = {"t": [], "calibrated": [], "example only": []}
    for i in range(250):
        arms = f1_arms(rng, size, 150, run_sd)
        found = two_way(arms, [1.0, -1.0], "micro_f1")
        low, high = found.interval()
        hits["t"].append(low <= truth <= high)
        low, high = calibrated(crossed_bootstrap(arms, [1.0, -1.0], "micro_f1", resamples=400, seed=i), found)
        hits["calibrated"].append(low <= truth <= high)
        one = two_way([np.repeat(arm[:1], 2, axis=0) for arm in arms], [1.0, -1.0], "micro_f1")
        hits["example only"].append(abs(one.theta - truth) <= 1.96 * one.se)
    error = 3 * np.sqrt(0.05 * 0.95 / 250)
    assert 0.95 - error <= np.mean(hits["t"]) <= 0.985 + error
    assert 0.95 - error <= np.mean(hits["calibrated"]) <= 0.985 + error
    assert np.mean(hits["example only"]) < np.mean(hits["t"])


def null_study(rng: np.random.Generator, num_languages: int, tau: float) -> tuple[pa.Table, pa.Table]:
    """Four arms of three runs on languages of 50 examples; no arm is better, but by `tau` (log-odds) they differ in each language."""
    arms = [(encoder, inter) for encoder in ("base", "large") for inter in ("none", "mnli")]
    runs = [{"run_id": f"{e}-{i}-{s}", "encoder": e, "intermediate": i, "seed": s} for e, i in arms for s in range(3)]
    shape = (len(runs), num_languages, 50)
    effect = rng.normal(0.8, 1, (1, *shape[1:])) + rng.normal(0, 0.15, (shape[0], 1, 1)) + rng.normal(0, 0.1, (*shape[:2], 1))
    effect = effect + np.repeat(rng.normal(0, tau, (len(arms), num_languages, 1)), 3, axis=0)
    run, language, example = (x.ravel() for x in np.indices(shape))
    columns = {
        "run_id": np.array([r["run_id"] for r in runs])[run],
        "language": np.char.add("l", language.astype(str)),
        "example_id": np.char.add(np.char.add(language.astype(str), "-"), example.astype(str)),
        "s0": (rng.random(shape) < logistic(effect)).ravel().astype(float),
    }
    return pa.Table.from_pylist(runs), pa.table(columns)


@pytest.mark.parametrize("tau", [0.0, 0.25])
def test_null_studies_make_no_claims(tau: float) -> None:
    """Without effects at most 5 % (+ 2 standard errors) of studies claim one in any language, pool, resource level or scaling verdict;
    where languages differ around zero, the same holds for claims about languages as a sample.
    """
    number, num_languages = 25, 12
    names = [f"l{i}" for i in range(num_languages)]
    plan = Plan(
        CONTRASTS,
        (Interaction("scales", "large", "base"),),
        groups={"low": tuple(names[:4]), "high": tuple(names[4:])},
        low_group="low",
        covariate={name: float(i) for i, name in enumerate(names)},
        resamples=100,
        collapsed=("all",),
    )
    false = dict.fromkeys(("gains", "fixed", "sample", "new", "resource", "scaling"), 0)
    for seed in range(number):
        found = analyse(*null_study(np.random.default_rng(seed), num_languages, tau), plan)
        claims = {name: getattr(found, name).to_pylist() for name in ("gains", "pooled", "resource", "scaling")}
        made = {row["contrast"]: row for row in claims["gains"] if row["claim"] in ("gain", "loss")}
        false["gains"] += "base" in made
        for name, estimand in (("fixed", "fixed_languages"), ("sample", "languages_as_sample"), ("new", "new_language")):
            rows = [row for row in claims["pooled"] if row["estimand"] == estimand and row["contrast"] == "base"]
            false[name] += any(row["claim"] in ("gain", "loss") for row in rows)
        rows = [row for row in claims["resource"] if row["estimand"] == "languages_as_sample" and row["contrast"] == "base"]
        false["resource"] += any(row["claim"] in ("gain", "loss") for row in rows)
        false["scaling"] += any(row["verdict"] in ("superior", "inferior") for row in claims["scaling"] if row["scale"] == "points")
    allowed = number * (0.05 + 2 * np.sqrt(0.05 * 0.95 / number))
    checked = false if tau == 0 else {name: false[name] for name in ("sample", "new", "resource")}
    assert all(count <= allowed for count in checked.values()), false


def test_a_real_gain_is_claimed_and_scales() -> None:
    """A gain of many points in every language, larger on the larger encoder, is found everywhere: the safety above is not silence."""
    rng = np.random.default_rng(0)
    runs, examples = null_study(rng, 6, 0.0)
    better = rng.random(examples.num_rows)
    run = examples["run_id"].to_pylist()
    raised = [
        1.0 if name.startswith("large-mnli") and u < 0.7 else float((name.startswith("base-mnli") and u < 0.3) or x)
        for name, u, x in zip(run, better, examples["s0"].to_pylist(), strict=True)
    ]
    lowered = [0.0 if "none" in name and u < 0.4 else x for name, u, x in zip(run, better, raised, strict=True)]
    names = tuple(f"l{i}" for i in range(6))
    plan = Plan(CONTRASTS, (Interaction("scales", "large", "base"),), groups={"low": names[:3]}, low_group="low", resamples=200)
    found = analyse(runs, examples.set_column(3, "s0", pa.array(lowered)), plan)
    large = [row for row in found.gains.to_pylist() if row["contrast"] == "large"]
    assert {row["claim"] for row in large} == {"gain"}
    assert all(row["lo"] < row["theta"] < row["hi"] and row["boot_lo"] < row["theta"] < row["boot_hi"] for row in large)
    counts = {(row["contrast"], row["group"]): row["at_least"] for row in found.partial_conjunction.to_pylist()}
    assert counts["large", "all"] == 6
    assert counts["large", "low"] == 3
    assert {row["verdict"] for row in found.scaling.to_pylist() if row["group"] == "all" and row["scale"] == "points"} == {"superior"}


def test_counts_of_languages_are_corrected_over_the_arms() -> None:
    """Of fifty null arms in one family some would each claim "at least one language gains" on their own; together they claim none."""
    rng = np.random.default_rng(1)
    arms = ["none", *(f"task {i}" for i in range(50))]
    difficulty, run_effect = rng.normal(0, 1, (1, 1, 4, 60)), rng.normal(0, 0.1, (len(arms), 3, 1, 1))
    right = rng.random((len(arms), 3, 4, 60)) < logistic(0.8 + difficulty + run_effect)
    arm, seed, language, example = (x.ravel() for x in np.indices(right.shape))
    names = np.array(arms)[arm]
    columns = {"run_id": [f"{a} {s}" for a, s in zip(names, seed, strict=True)], "language": np.char.add("l", language.astype(str))}
    columns |= {"example_id": np.char.add(columns["language"], example.astype(str)), "s0": right.ravel().astype(float)}
    runs = pa.Table.from_pylist([{"run_id": f"{a} {s}", "intermediate": a, "seed": s} for a in arms for s in range(3)])
    contrasts = [Contrast(a, {"intermediate": a}, {"intermediate": "none"}, family="all") for a in arms[1:]]
    found = analyse(runs, pa.table(columns), Plan(tuple(contrasts), groups={"low": ("l0", "l1", "l2")}, resamples=100, collapsed=("all",)))
    gains = found.gains.to_pylist()
    above = {a: [row["p"] / 2 if row["theta"] > 0 else 1.0 for row in gains if row["contrast"] == a] for a in arms[1:]}
    assert sum(at_least(p) > 0 for p in above.values()) > 0
    assert {row["claim"] for row in gains} == {"undecided"}
    rows = found.partial_conjunction.to_pylist()
    assert len(rows) == 2 * 50
    assert {(row["at_least"], row["at_least_losses"]) for row in rows} == {(0, 0)}
