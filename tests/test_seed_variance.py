"""How many seeds: variance components read back from tables, what more seeds and examples would show, public scores."""

from __future__ import annotations

import doctest
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from places import ROOT
from test_synthetic import script

from raystilts.analyse import analyse_tables

TEXT = ROOT / "analysis" / "seed_variance.md"


@pytest.mark.parametrize("name", ["seed_variance", "public_scores", "claims"])
def test_examples_run(name: str) -> None:
    """Every example in the scripts' docstrings gives what it says."""
    found = doctest.testmod(script(name))
    assert found.failed == 0
    assert found.attempted > 0


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `raystilts analyse` writes of a synthetic study of one target."""
    folder, study = tmp_path_factory.mktemp("synthetic"), script("synthetic_study")
    study.write_study(folder, study.Scale(("tydiqa",), ("mnli", "csqa"), examples=200, resamples=100), seeds=8, seed=2)
    analyse_tables(folder / "tables", folder / "plan.toml", folder / "out")
    return folder


def test_the_curve_of_these_examples_is_the_power_table(analysed: Path) -> None:
    """With as many examples as there are, detectable gains equal those of the table of power; more examples never make them larger at
    eight seeds and more, and without end leave what seeds alone cost.
    """
    scripted = script("seed_variance")
    power = pq.read_table(analysed / "out" / "power.parquet").to_pylist()
    gains = pq.read_table(analysed / "out" / "gains.parquet").to_pylist()
    variance = pq.read_table(analysed / "out" / "variance.parquet").to_pylist()
    compared = 0
    for row in gains:
        parts = [one for one in variance if all(one[name] == row[name] for name in ("policy", "contrast", "language"))]
        noise = scripted.noise_of(row, {one["component"]: one["variance"] for one in parts})
        mine = [one for one in power if all(one[name] == row[name] for name in ("policy", "contrast", "language"))]
        table = {one["seeds"]: one["detectable"] for one in mine}
        if all(variance > 0 for variance in noise.runs):  # where a component was cut at zero, the table spends it otherwise
            assert noise.detectable(tuple(table)) == pytest.approx(list(table.values()), rel=0.02)
            compared += 1
        for more in (4.0, math.inf):
            assert (noise.detectable((8, 20, 50), more) <= noise.detectable((8, 20, 50)) + 1e-12).all()
        assert noise.detectable((20,), math.inf)[0] >= 2.8 * math.sqrt(
            sum(v * u / 20 for v, u in zip(noise.runs, noise.units, strict=True))
        )
    assert compared > 10


def test_components_are_those_that_were_simulated(analysed: Path, tmp_path: Path) -> None:
    """The standard deviation between seeds is about the point that the synthetic study has; text and figure are made again alike."""
    scripted = script("seed_variance")
    found = scripted.read_groups(analysed / "out", None)
    assert {group.policy for group in found} == {"all", "converged"}
    assert {group.name for group in found} == {"tydiqa, base", "tydiqa, large"}
    pairs = [pair for group in found for noise in group.noise for pair in zip(noise.runs, noise.units, strict=True)]
    study = script("synthetic_study")
    simulated = 100 * 0.38 * math.hypot(study.RUN, study.RUN_HERE, study.OF_SEED)  # 0.38: the normal density around 60 %
    assert math.sqrt(np.mean([run * units for run, units in pairs])) == pytest.approx(simulated, rel=0.35)
    again = scripted.read_groups(analysed / "tables", analysed / "plan.toml")
    assert [group.noise for group in again] == [group.noise for group in found]
    for name in ("one.svg", "two.svg"):
        scripted.save(scripted.draw(found, 1.0), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "| tydiqa, base | all |" in scripted.report(found, [], 1.0, "one.svg")


def test_public_scores_are_read_and_spread(tmp_path: Path) -> None:
    """Runs that scored zero are counted and left out; runs of one language each have no mean of their own, so that variances add up."""
    public = script("public_scores")
    folder = tmp_path / "MasakhaNER2.0" / "baseline_models_results"
    for language, scores in {"hau": ("0.80", "0.82", "0.0"), "yor": ("0.60", "0.64", "0.62")}.items():
        (folder / f"{language}_xlmrlarge").mkdir(parents=True)
        for seed, score in enumerate(scores):
            (folder / f"{language}_xlmrlarge" / f"test_result{seed}.txt").write_text(f"f1 = {score}\nloss = 1\n")
    found = public.spread_of(list(public.masakhaner_scores(tmp_path)))
    assert (found.languages, found.runs, found.failed) == (2, 5, 1)
    assert found.largest == pytest.approx(2.0)
    assert found.alone == pytest.approx(math.sqrt((2.0 * 1 + 4.0 * 2) / 3))
    assert found.together == pytest.approx(math.sqrt(2.0 + 4.0) / 2)
    assert public.score_rows(public.masakhaner_scores(tmp_path), 1.0)[0][:5] == [
        "MasakhaNER 2.0, trained in each",
        "xlmrlarge",
        "2",
        "5",
        "1",
    ]


def test_the_committed_text_counts_the_public_runs() -> None:
    """896 published runs of seven encoders, 16 of which learned nothing, 15 of these XLM-R Large, and zero-shot runs that vary more."""
    rows = [line.strip("| ").split(" | ") for line in TEXT.read_text(encoding="utf-8").splitlines() if line.startswith("| Masakha")]
    trained = [row for row in rows if row[0].endswith("trained in each")]
    assert sum(int(row[3]) + int(row[4]) for row in trained) == pytest.approx(896, abs=3)
    assert {row[1]: row[4] for row in trained if row[4] != "0"} == {"rembert": "1", "xlmrlarge": "15"}
    zero_shot = [row for row in rows if "zero-shot" in row[0]]
    assert min(float(row[6]) for row in zero_shot) > 2 * max(float(row[6]) for row in trained)


def test_the_ledger_is_written_again_alike_and_judged_beside_a_study(analysed: Path, tmp_path: Path) -> None:
    """Every claim of the ledger stands in the committed text, which a rerun gives; with a study, each has a verdict and its reason."""
    claims = script("claims")
    text = claims.report(None, {}, 1.0)
    assert text == claims.REPORT.read_text(encoding="utf-8")
    assert all(claim.sentence in text and claim.source in text for claim in claims.CLAIMS)
    assert "| verdict |" not in text
    judged = claims.report(claims.read_study(analysed / "out"), {"large": "xlm-roberta-large"}, 1.0)
    rows = [line.strip("| ").split(" | ") for line in judged.splitlines() if line.startswith("| ") and "arXiv" in line]
    mnli = next(row for row in rows if row[0].startswith("MNLI"))
    assert mnli[8] == "cannot tell"
    assert "the study lacks" in mnli[10]
    assert next(row for row in rows if row[0].startswith("HellaSwag"))[8:] == ["not tested", "–", "the study has no such arm"]


def test_more_noise_needs_more_seeds() -> None:
    """Seeds needed grow with the noise of runs; supporting a score is out of reach where one run may lie further off than the margin."""
    claims = script("claims")
    gain = next(claim for claim in claims.CLAIMS if claim.kind == "gain")
    score = next(claim for claim in claims.CLAIMS if claim.kind == "score")
    numbers = [int(claims.seeds_to_support(gain, deviation, 1.0)) for deviation in (0.1, 0.5, 1.0, 2.0)]
    assert numbers == sorted(set(numbers))
    assert claims.seeds_to_support(score, 0.6, 1.0) == "no number"
    assert int(claims.seeds_to_support(score, 0.2, 1.0)) < 10
    rng = np.random.default_rng(0)
    seeds = int(claims.seeds_to_support(gain, 0.5, 1.0))
    draws = rng.normal(0, 0.5, (4000, 2, seeds))
    theta = draws[:, 0].mean(axis=1) - draws[:, 1].mean(axis=1)
    half = claims.quantile(0.975, 2 * seeds - 2) * np.sqrt(draws.var(axis=2, ddof=1).sum(axis=1) / seeds)
    assert np.mean((np.abs(theta) + half) < 1.0) == pytest.approx(0.8, abs=0.12)


@pytest.mark.slow
def test_a_rerun_gives_the_committed_components_and_figure(shared_data: Path, tmp_path: Path) -> None:
    """The same predictions give the same two first tables and the same figure, to the last byte."""
    scripted, masakhaner = script("seed_variance"), script("masakhaner_base_to_large")
    for name, table in zip(("runs", "examples"), masakhaner.tables(shared_data / "masakhaner2"), strict=True):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "plan.toml").write_text(masakhaner.TOML, encoding="utf-8")
    found = scripted.read_groups(tmp_path, None)
    assert TEXT.read_text(encoding="utf-8").startswith(scripted.report(found, [], 1.0, "seed_variance.svg").rstrip("\n"))
    scripted.save(scripted.draw(found, 1.0), tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_bytes() == TEXT.with_suffix(".svg").read_bytes()
