"""The laptop experiment on real data, with a tiny random encoder in place of the real one."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from places import ROOT, experiment, finished, script

from raystilts import data, model, results
from raystilts.stage import Architecture, Encoder, Recipe
from raystilts.tasks.nli import XNLI


def test_real_tasks_run_and_their_scores_are_recomputed_elsewhere(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XNLI, UD-POS, WikiANN, SIB-200 and Tatoeba, alone and after MNLI and CCG: every stage runs on the real files, and a script that
    knows nothing of raystilts computes exactly the reported scores from the prediction tables, in more than ten languages. The page about
    the study is computed from the report's tables, and another digit in it is found. The predictions beside it, unpacked, give the same
    report.
    """
    texts = [text for example in data.examples(XNLI, "dev", "en", shared_data)[:500] for text in example.texts]
    model.initialise(tmp_path / "tiny", texts, Architecture(1, 16, 1, 32, 500), 0)
    laptop = experiment("laptop")
    study = replace(
        laptop.study(),
        encoders=(Encoder("tiny", folder="tiny"),),
        intermediates=laptop.intermediates(12),
        targets=laptop.targets(12),
        seeds=(1,),
        languages=("ar", "hi", "kk", "mr", "qu", "sw", "ta", "te", "tl", "ur", "wo", "yo"),
        recipes={"default": Recipe(learning_rate=1e-3, num_steps=2, batch_size=8, max_length=64, max_query_length=32, max_examples=64)},
    )
    plan, store = finished(study, shared_data, tmp_path)
    report = store.root / "report"
    lines = results.write(plan, store, report, "raystilts run")
    assert any("tatoeba" in line for line in lines)
    assert "taxinli &gt; xnli-dev: both phases train on the same data" in (report / "report.html").read_text(encoding="utf-8")
    recompute = [sys.executable, str(ROOT / "analysis" / "recompute_scores.py"), str(store.root)]
    done = subprocess.run(recompute, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    languages = {code for cell in plan.cells for code in cell.languages}
    assert len(languages) > 10
    assert f"{sum(len(cell.languages) for cell in plan.cells)} scores recomputed, 0 differ" in done.stdout
    monkeypatch.syspath_prepend(ROOT / "analysis")
    page = script("analysis/laptop.py")
    monkeypatch.setattr(page, "FOLDER", tmp_path / "taken")
    assert page.main([str(store.root)]) == 0
    assert page.main([]) == 0
    with tarfile.open(tmp_path / "taken" / "predictions.tar.xz") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    assert not list((tmp_path / "unpacked").rglob("*.safetensors"))
    shutil.move(store.root, tmp_path / "away")
    shutil.move(tmp_path / "unpacked", store.root)
    results.write(plan, store, tmp_path / "again", "raystilts run")
    assert (tmp_path / "again" / "report.md").read_bytes() == (tmp_path / "taken" / "report.md").read_bytes()
    text = (tmp_path / "taken" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "taken" / "README.md").write_text(text.replace(" runs of", "0 runs of", 1), encoding="utf-8")
    assert page.main([]) == 1


def test_the_committed_report_shows_the_numbers_of_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README.md and report.md of analysis/laptop/ are what the tables beside them say, and a digit that is changed in either is found. The
    predictions beside them are those of every run in the tables.
    """
    monkeypatch.syspath_prepend(ROOT / "analysis")
    page = script("analysis/laptop.py")
    assert page.main([]) == 0
    committed = page.FOLDER
    with tarfile.open(committed / "predictions.tar.xz") as tar:
        languages = [Path(name).stem for name in tar.getnames() if name.endswith(".parquet")]
    with (committed / "tables" / "scores.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(languages) == sorted(row["language"] for row in csv.DictReader(file))
    for name, digit in (("README.md", r"(\d) runs of"), ("report.md", r"Pooled over \d+ languages: .(\d)")):
        shutil.copytree(committed, tmp_path / name)
        text = (committed / name).read_text(encoding="utf-8")
        place = re.search(digit, text).start(1)
        (tmp_path / name / name).write_text(f"{text[:place]}{(int(text[place]) + 5) % 10}{text[place + 1 :]}", encoding="utf-8")
        monkeypatch.setattr(page, "FOLDER", tmp_path / name)
        assert page.main([]) == 1
