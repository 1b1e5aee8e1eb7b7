"""What to cite: BibTeX of the methods that a report uses, and of its tasks as they cite themselves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

METHODS = """\
@article{holm1979, author = {Holm, Sture}, title = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2}, pages = {65--70}, year = {1979}}
@article{benjamini1995, author = {Benjamini, Yoav and Hochberg, Yosef}, title = {Controlling the False Discovery Rate: A Practical and
  Powerful Approach to Multiple Testing}, journal = {Journal of the Royal Statistical Society B}, volume = {57}, number = {1},
  pages = {289--300}, year = {1995}}
@article{satterthwaite1946, author = {Satterthwaite, Franklin E.}, title = {An Approximate Distribution of Estimates of Variance
  Components}, journal = {Biometrics Bulletin}, volume = {2}, number = {6}, pages = {110--114}, year = {1946}}
@article{cameron2011, author = {Cameron, A. Colin and Gelbach, Jonah B. and Miller, Douglas L.}, title = {Robust Inference With Multiway
  Clustering}, journal = {Journal of Business \\& Economic Statistics}, volume = {29}, number = {2}, pages = {238--249}, year = {2011}}
@inproceedings{sellam2022, author = {Sellam, Thibault and others}, title = {The {MultiBERTs}: {BERT} Reproductions for Robustness
  Analysis}, booktitle = {ICLR}, year = {2022}, eprint = {2106.16163}, archivePrefix = {arXiv}}
@article{dror2017, author = {Dror, Rotem and Baumer, Gili and Bogomolov, Marina and Reichart, Roi}, title = {Replicability Analysis for
  Natural Language Processing: Testing Significance with Multiple Datasets}, journal = {TACL}, volume = {5}, pages = {471--486},
  year = {2017}}
@article{schuirmann1987, author = {Schuirmann, Donald J.}, title = {A Comparison of the Two One-Sided Tests Procedure and the Power
  Approach for Assessing the Equivalence of Average Bioavailability}, journal = {Journal of Pharmacokinetics and Biopharmaceutics},
  volume = {15}, number = {6}, pages = {657--680}, year = {1987}}
@article{hartung2001, author = {Hartung, Joachim and Knapp, Guido}, title = {A Refined Method for the Meta-Analysis of Controlled Clinical
  Trials with Binary Outcome}, journal = {Statistics in Medicine}, volume = {20}, number = {24}, pages = {3875--3889}, year = {2001}}
@article{higgins2009, author = {Higgins, Julian P. T. and Thompson, Simon G. and Spiegelhalter, David J.}, title = {A Re-Evaluation of
  Random-Effects Meta-Analysis}, journal = {Journal of the Royal Statistical Society A}, volume = {172}, number = {1},
  pages = {137--159}, year = {2009}}
@article{clopper1934, author = {Clopper, C. J. and Pearson, E. S.}, title = {The Use of Confidence or Fiducial Limits Illustrated in the
  Case of the Binomial}, journal = {Biometrika}, volume = {26}, number = {4}, pages = {404--413}, year = {1934}}
@inproceedings{agarwal2021, author = {Agarwal, Rishabh and others}, title = {Deep Reinforcement Learning at the Edge of the Statistical
  Precipice}, booktitle = {NeurIPS}, year = {2021}, eprint = {2108.13264}, archivePrefix = {arXiv}}
@inproceedings{joshi2020, author = {Joshi, Pratik and others}, title = {The State and Fate of Linguistic Diversity and Inclusion in the
  {NLP} World}, booktitle = {ACL}, year = {2020}, eprint = {2004.09095}, archivePrefix = {arXiv}}
@inproceedings{phang2020, author = {Phang, Jason and others}, title = {{English} Intermediate-Task Training Improves Zero-Shot
  Cross-Lingual Transfer Too}, booktitle = {AACL}, year = {2020}, eprint = {2005.13013}, archivePrefix = {arXiv}}
"""
TITLES = {
    "1508.05326": "A Large Annotated Corpus for Learning Natural Language Inference",
    "1606.05250": "{SQuAD}: 100,000+ Questions for Machine Comprehension of Text",
    "1704.05426": "A Broad-Coverage Challenge Corpus for Sentence Understanding through Inference",
    "1804.07461": "{GLUE}: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding",
    "1806.03822": "Know What You Don't Know: Unanswerable Questions for {SQuAD}",
    "1809.05053": "{XNLI}: Evaluating Cross-lingual Sentence Representations",
    "1810.04805": "{BERT}: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    "1811.00937": "{CommonsenseQA}: A Question Answering Challenge Targeting Commonsense Knowledge",
    "1811.01136": "Margin-based Parallel Corpus Mining with Multilingual Sentence Embeddings",
    "1812.10464": "Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual Transfer and Beyond",
    "1902.00193": "Massively Multilingual Transfer for {NER}",
    "1904.09728": "{SocialIQA}: Commonsense Reasoning about Social Interactions",
    "1905.00537": "{SuperGLUE}: A Stickier Benchmark for General-Purpose Language Understanding Systems",
    "1905.07830": "{HellaSwag}: Can a Machine Really Finish Your Sentence?",
    "1908.11828": "{PAWS-X}: A Cross-lingual Adversarial Dataset for Paraphrase Identification",
    "1909.00277": "{Cosmos QA}: Machine Reading Comprehension with Contextual Commonsense Reasoning",
    "1910.07475": "{MLQA}: Evaluating Cross-lingual Extractive Question Answering",
    "1910.11856": "On the Cross-lingual Transferability of Monolingual Representations",
    "1910.14599": "Adversarial {NLI}: A New Benchmark for Natural Language Understanding",
    "2003.05002": "{TyDi QA}: A Benchmark for Information-Seeking Question Answering in Typologically Diverse Languages",
    "2004.05484": "{LAReQA}: Language-agnostic Answer Retrieval from a Multilingual Pool",
    "2004.10643": "{Universal Dependencies} v2: An Evergrowing Multilingual Treebank Collection",
    "2005.00333": "{XCOPA}: A Multilingual Dataset for Causal Commonsense Reasoning",
    "2009.14505": "{TaxiNLI}: Taking a Ride up the {NLU} Hill",
    "2104.07412": "{XTREME-R}: Towards More Challenging and Nuanced Multilingual Evaluation",
    "2104.08645": "Improving Zero-Shot Cross-Lingual Transfer Learning via Robust Training",
    "2104.08726": "{AmericasNLI}: Evaluating Zero-shot Natural Language Understanding of Pretrained Multilingual Models in Truly "
    "Low-resource Languages",
    "2210.12391": "{MasakhaNER} 2.0: {Africa}-centric Transfer Learning for Named Entity Recognition",
    "2308.16884": "The {Belebele} Benchmark: A Parallel Reading Comprehension Dataset in 122 Language Variants",
    "2309.07445": "{SIB-200}: A Simple, Inclusive, and Big Evaluation Dataset for Topic Classification in 200+ Languages and Dialects",
    "2406.03368": "{IrokoBench}: A New Benchmark for {African} Languages in the Age of Large Language Models",
}
"""arXiv number -> title, of the works that the tasks cite."""


def bibtex(citations: Iterable[str]) -> str:
    """The methods' entries, then one a work that a task cites; what is no arXiv paper becomes a note."""
    entries: dict[str, str] = {}
    for text in citations:
        for part in filter(None, (part.strip() for part in text.split(";"))):
            found = re.search(
                r"(?P<who>[^\W\d_][\w'-]*)(?P<more> et al\.| and [^\W\d_][\w'-]*)?\.? (?P<year>\d{4}), arXiv (?P<id>[\d.]+)", part
            )
            if found and found["id"] in METHODS:
                continue  # a method's entry has it in full
            if found:
                others = " and others" if found["more"] == " et al." else found["more"] or ""
                key = f"{found['who'].lower()}{found['year']}-{found['id']}"
                who = f"author = {{{_plain(found['who'] + others)}}}, year = {{{found['year']}}}"
                title = f", title = {{{TITLES[found['id']]}}}" if found["id"] in TITLES else ""
                entries[key] = f"{who}{title}, eprint = {{{found['id']}}}, archivePrefix = {{arXiv}}"
            else:
                name = re.sub(r"[^a-z0-9]+", "-", part.lower())[:40].strip("-") or "work"
                fields = f"key = {{{_plain(part)}}}, note = {{{_plain(part)}}}"
                places = (name if place == 1 else f"{name}-{place}" for place in itertools.count(1))
                entries[next(place for place in places if entries.get(place, fields) == fields)] = fields
    return METHODS + "".join(f"@misc{{{key}, {fields}}}\n" for key, fields in entries.items())


def _plain(text: str) -> str:
    """As LaTeX prints it, but for braces and backslashes, which would end an entry: they are left out."""
    named = {"\\": "", "{": "", "}": "", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return re.sub(r"([\\{}%$#&_~^])", lambda match: named.get(match[0], f"\\{match[0]}"), " ".join(text.split()))
