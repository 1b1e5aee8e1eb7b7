"""The ways to evaluate of peers.py: raystilts, Trainer.predict, and one language after the other padded to the maximum."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from peer_work import EVALUATION_BATCH, TESTED, TESTED_LANGUAGES, TUNING, Run, Setting, feature, items_of, measured, padded, peer_of

from raystilts import evaluate, model
from raystilts.evaluate import Place
from raystilts.retrieval import Texts
from raystilts.train import Part, Worker, fit


def tune(setting: Setting) -> None:
    """Train the model that all ways evaluate, for a few steps."""
    _, items = items_of(TESTED, TUNING, "train", "en", 800, setting)
    part = Part(TESTED, TESTED.labels, len(items), items)
    built = model.build(setting.root, None, items.vocabulary, [len(TESTED.labels)], 1, keep_head=False)
    fit(built, TESTED, [part], TUNING, 1, model.load_tokenizer(setting.root), Worker(), None)
    model.save(built, setting.checkpoint, setting.root, None)


def texts_of(setting: Setting) -> dict[str, Texts]:
    """What is tested, per language."""
    found = {language: items_of(TESTED, TUNING, "test", language, setting.sentences, setting) for language in TESTED_LANGUAGES}
    return {language: Texts(language, *of) for language, of in found.items()}


def tags_score(texts: Mapping[str, Texts], tags: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Mean F1 over languages, and all tags as one text: what shows that predictions are the same."""
    answers = evaluate._predictions(TESTED, TESTED.labels, texts, {language: list(of) for language, of in tags.items()}, None)
    scores = [
        evaluate.prediction_table(TESTED, of.examples, answers.gold[language], answers.predicted[language], language)[1][TESTED.metric]
        for language, of in texts.items()
    ]
    return {"score": float(np.mean(scores)), "tags": [tag for of in answers.predicted.values() for tags in of for tag in tags]}


def evaluate_here(setting: Setting) -> Run:
    """raystilts: all languages together, sorted, in token budgets; the model is made within the time."""
    texts = texts_of(setting)

    def run(profile: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        place = Place(setting.root, setting.checkpoint, setting.data, "cpu")
        with measured(found, profile):
            tags = evaluate._outputs(TESTED, TUNING, place, TESTED.labels, texts)
        return found | tags_score(texts, tags)

    return run


def evaluate_trainer(setting: Setting) -> Run:
    """Trainer.predict per language: sorted by length, each batch padded to its longest, and only the best tags kept of the logits."""
    texts, tokenizer, peer = texts_of(setting), model.load_tokenizer(setting.root), peer_of(TESTED, setting, setting.checkpoint)
    orders = {language: np.argsort(-of.items.lengths, kind="stable") for language, of in texts.items()}
    rows = {language: [feature(of.items[i], "tagging") for i in orders[language]] for language, of in texts.items()}
    with tempfile.TemporaryDirectory() as folder:
        options = transformers.TrainingArguments(
            folder, per_device_eval_batch_size=EVALUATION_BATCH, report_to="none", use_cpu=True, disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = transformers.Trainer(
            peer,
            options,
            data_collator=lambda batch: padded(batch, tokenizer, "tagging", None),
            preprocess_logits_for_metrics=lambda logits, _labels: logits.argmax(-1),
        )

    def run(profile: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with measured(found, profile):
            best = {language: trainer.predict(of).predictions for language, of in rows.items()}
        return found | tags_score(texts, unsorted(texts, best, orders))

    return run


def evaluate_padded(setting: Setting) -> Run:
    """One language after the other, in its own order, all padded to 128: google-research/xtreme's and jiant's way."""
    texts, tokenizer, peer = texts_of(setting), model.load_tokenizer(setting.root), peer_of(TESTED, setting, setting.checkpoint).eval()
    rows = {language: [feature(item, "tagging") for item in of.items] for language, of in texts.items()}
    orders = {language: np.arange(len(of)) for language, of in rows.items()}

    def predicted(of: Sequence[dict[str, Any]]) -> np.ndarray:
        found = []
        for start in range(0, len(of), EVALUATION_BATCH):
            with torch.no_grad():
                logits = peer(**padded(of[start : start + EVALUATION_BATCH], tokenizer, "tagging", TUNING.max_length))["logits"]
            found.append(logits.numpy())
        return np.concatenate(found).argmax(-1)

    def run(profile: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with measured(found, profile):
            best = {language: predicted(of) for language, of in rows.items()}
        return found | tags_score(texts, unsorted(texts, best, orders))

    return run


def unsorted(texts: Mapping[str, Texts], best: Mapping[str, np.ndarray], orders: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Per language and item the numbers of its words' tags, from those of all pieces in another order."""
    found: dict[str, list[Any]] = {language: [None] * len(of.items) for language, of in texts.items()}
    for language, order in orders.items():
        for row, place in enumerate(order):
            found[language][place] = best[language][row, texts[language].items[int(place)].places]
    return found
