"""Retrieval of translations: nothing is trained, the nearest neighbour is the prediction."""

from __future__ import annotations

from raystilts.task import Source, Task

TATOEBA = Task(
    name="tatoeba",
    kind="retrieval",
    metric="accuracy",
    languages=(
        *("af", "ar", "az", "bg", "bn", "de", "el", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "jv"),
        *("ka", "kk", "ko", "lt", "ml", "mr", "nl", "pl", "pt", "ro", "ru", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh"),
    ),
    test=Source(
        dataset="mteb/tatoeba-bitext-mining",  # checked: pinned so by mteb; the columns are those of all its bitext tasks
        revision="69e8f12da6e31d59addadda9a9c8a2e601a0e282",
        subset="{tatoeba}-eng",
        split="test",
        columns=("sentence1", "sentence2"),
        files=("tatoeba/tatoeba.{tatoeba}-eng.{tatoeba}", "tatoeba/tatoeba.{tatoeba}-eng.eng"),
        reader="aligned",
    ),
    layer=0.58,  # XTREME-R reads layer 14 of XLM-R Large's 24: the same relative depth in an encoder of any size
    citation="Artetxe and Schwenk 2019, arXiv 1812.10464; XTREME-R: Ruder et al. 2021, arXiv 2104.07412",
    licence="CC BY 2.0 FR",
)

TASKS = (TATOEBA,)
