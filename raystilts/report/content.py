"""What a report says, before any form: the page and the Markdown print the same content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raystilts.report import figures, listings, overview, pairs, profile, resource, tables
from raystilts.report.answers import Answer, Overall, answers, overall
from raystilts.report.citations import bibtex
from raystilts.report.practices import practices_rows, practices_table
from raystilts.report.scaling import scaling_headline
from raystilts.report.story import Analysis, Story
from raystilts.report.svg import Drawing
from raystilts.report.tables import Table
from raystilts.report.verdicts import CellVerdict, cell_verdicts, differing_policies, headline
from raystilts.report.view import HEADLINE_GROUP, Row, View, in_points, plain, policies, slug, span, view


@dataclass(frozen=True)
class Block:
    """One (target, intermediate) inside its target's section."""

    id: str
    verdict: CellVerdict
    drawings: list[Drawing]


@dataclass(frozen=True)
class Section:
    """One target task. drawings: of the target as a whole; tables: always shown; more: folded away."""

    target: str
    id: str
    drawings: list[Drawing]
    blocks: list[Block]
    tables: list[Table]
    more: list[Table]


@dataclass(frozen=True)
class Content:
    """The whole report, in the order of reading."""

    story: Story
    headline: str
    scaling: str
    distrusted: list[str]
    overall: list[Overall]
    made: list[tuple[str, str]]
    answers: list[Answer]
    questions: Table
    verdicts: list[CellVerdict]
    heatmaps: list[Drawing]
    sections: list[Section]
    gains: Table
    findings: Table
    intermediates: Table
    collapse: Table
    policies: Table | None
    policy_note: str
    practices: Table
    practice_rows: list[Row]
    ledger: Table
    methods: list[str]
    bibtex: str

    @property
    def drawings(self) -> list[Drawing]:
        """All figures, in the order of the page."""
        of_sections = [[*section.drawings, *(one for block in section.blocks for one in block.drawings)] for section in self.sections]
        return [*self.heatmaps, *(one for found in of_sections for one in found)]

    @property
    def tables(self) -> dict[str, Table]:
        """All tables that have rows, by the names of their files."""
        found = {"questions": self.questions, "gains": self.gains}
        for section in self.sections:
            found |= {f"{section.id}-{number}": table for number, table in enumerate([*section.tables, *section.more], 1)}
        found |= {
            "findings": self.findings,
            "intermediates": self.intermediates,
            "collapse": self.collapse,
            "practices": self.practices,
            "ledger": self.ledger,
        }
        found |= {"policies": self.policies} if self.policies else {}
        return {name: table for name, table in found.items() if table.rows}


def content(analysis: Analysis, story: Story, ledger: Sequence[Row] = (), alternatives: Sequence[Row] = ()) -> Content:
    """Reads the tables, words the verdicts and draws the figures.

    ledger: rows of stats.judge. alternatives: rows of stats.alternatives_table, where it was made, under any policy.
    """
    views = [view(analysis, story, policy) for policy in policies(analysis)] or [view(analysis, story, "all")]
    seen = views[0]
    verdicts = cell_verdicts(seen)
    found = answers(seen, verdicts)
    differing = differing_policies(views)
    practice = practices_rows(seen, [row for row in alternatives if row["policy"] == seen.policy])
    return Content(
        story=story,
        headline=headline(verdicts),
        scaling=scaling_headline([scaling for cell in verdicts for scaling in cell.scaling]),
        distrusted=[*story.trap_cells.values(), *listings.guessing(analysis.findings)],
        overall=overall(seen, found),
        made=_made(seen),
        answers=found,
        questions=listings.questions_table(found),
        verdicts=verdicts,
        heatmaps=_drawn(overview.heatmap(seen, group, f"heatmap-{slug(group)}") for group in (HEADLINE_GROUP, *story.levels[:1])),
        sections=_sections(seen, verdicts),
        gains=tables.gains_table(seen),
        findings=listings.findings_table(story, analysis.findings.to_pylist()),
        intermediates=listings.intermediates_table(analysis.scores),
        collapse=listings.collapse_table(analysis.collapse),
        policies=listings.policies_table(story, [one.policy for one in views], differing) if differing else None,
        policy_note=_policy_note(views, sum("language" in row for _, row, _ in differing)),
        practices=practices_table(practice),
        practice_rows=practice,
        ledger=listings.ledger_table(ledger),
        methods=_methods(seen, [one.policy for one in views]),
        bibtex=bibtex(story.citations),
    )


def _drawn(found: Iterable[Drawing | None]) -> list[Drawing]:
    return [one for one in found if one]


def questions_rows(found: Sequence[Answer]) -> list[Mapping[str, Any]]:
    """The answers as a table for the disk."""
    return [
        {
            "question": one.question, "about": one.about, "target": one.target, "intermediate": one.intermediate, "encoder": one.encoder,
            "answer": one.answer, "sentence": one.sentence, "settle": one.settle,
            **{key: one.row.get(key) for key in ("theta", "lo", "hi")}, "p_adjusted": one.p_holm, "test": one.test,
            "n_languages": one.languages, "seeds": one.seeds, "examples": one.examples,
        }
        for one in found
    ]  # fmt: skip


def _made(seen: View) -> list[tuple[str, str]]:
    """Who made this, from how much: the line below the question."""
    rows = [row for arm in seen.gains.values() for row in arm]
    story = seen.story
    return [
        ("Command", story.command),
        ("Encoders", ", ".join(seen.encoders) or "–"),
        ("Languages", str(len({row["language"] for row in rows}))),
        ("Seeds per arm", span(row["runs_plus"] for row in rows)),
        ("Test examples per language", span(row["n_examples"] for row in rows)),
        *list(story.facts.items())[:3],
    ]


def _sections(seen: View, verdicts: Sequence[CellVerdict]) -> list[Section]:
    names: set[str] = set()
    sections = []
    for target in seen.targets:
        blocks = []
        for verdict in verdicts:
            if verdict.target == target:
                name = _unused("-".join(map(slug, verdict.cell)), names)
                kinds = (figures.forest, pairs.pairs, figures.scaling, resource.resource, profile.profile)
                drawn = _drawn(draw(seen, verdict.cell, f"{name}-{draw.__name__}") for draw in kinds)
                blocks.append(Block(f"cell-{name}", verdict, drawn))
        shown = [tables.pooled_table(seen, target), tables.scaling_table(seen, target), tables.resource_table(seen, target)]
        shown.append(pairs.pairs_table(seen, target))
        folded = [tables.interactions_table(seen, target)]
        name = _unused(f"target-{slug(target)}", names)
        wholes = (overview.scales, overview.variance, overview.seeds, overview.power)
        whole = _drawn(draw(seen, target, f"{name}-{draw.__name__}") for draw in wholes)
        sections.append(Section(target, name, whole, blocks, _filled(shown), _filled(folded)))
    return sections


def _filled(found: Iterable[Table]) -> list[Table]:
    return [table for table in found if table.rows]


def _unused(name: str, used: set[str]) -> str:
    """Two names may make the same slug; figures and anchors need their own."""
    unique, number = name, 2
    while unique in used:
        unique, number = f"{name}-{number}", number + 1
    used.add(unique)
    return unique


def _policy_note(views: Sequence[View], differing: int) -> str:
    if len(views) < 2:
        return "Only one collapse policy was computed."
    if not differing:
        return "Dropping collapsed runs changes no gain: both policies, all runs and converged runs only, give the same numbers."
    both = [[(arm.gains, arm.losses) for cell in cell_verdicts(one) for arm in cell.arms] for one in views[:2]]
    counts = [f"{sum(gains for gains, _ in one)} real gains and {sum(losses for _, losses in one)} real losses" for one in both]
    return (
        f"The verdicts keep every run ({views[0].policy}): {counts[0]}. With converged runs only ({views[1].policy}): {counts[1]}. "
        f"{differing} gains differ between the two."
    )


def _methods(seen: View, names: Sequence[str]) -> list[str]:
    """The paragraphs for a paper, with this study's numbers in them."""
    story, rows = seen.story, [row for arm in seen.gains.values() for row in arm]
    resamples, seed = story.facts.get("bootstrap resamples"), story.facts.get("bootstrap seed")
    draws = f"{resamples} crossed bootstrap resamples" if resamples else "a crossed bootstrap"
    seeded = f" (seed {seed})" if seed else ""
    minus = "without an intermediate task" if story.baseline == "none" else f"of the baseline {story.baseline}"
    of_tasks = "the mean score of an encoder fine-tuned on an intermediate task and then on the target task, minus the mean score "
    what = f"{of_tasks}{minus}" if story.baseline else "the mean score of one side of a contrast, minus that of the other"
    encoders = f"{len(seen.encoders)} encoders ({', '.join(seen.encoders)}), " if any(seen.encoders) else ""
    pairs = "pairs of intermediate and target task" if story.baseline else "contrasts"
    margin = in_points(story.margin)
    return [
        f"A gain is {what}, in points (0 to 100), on the same test examples, for {encoders}"
        f"{len(seen.cells)} {pairs} and {len({row['language'] for row in rows})} languages, with "
        f"{span(row['runs_plus'] for row in rows)} runs (seeds) per arm and {span(row['n_examples'] for row in rows)} test examples "
        "per language.",
        "Its variance adds that of the runs and that of the test examples (two-way, without counting their interaction twice), and p is "
        "that of a two-sided t with Satterthwaite's degrees of freedom. Within each family of hypotheses p is adjusted by Holm; a gain or "
        f"a loss is called real where the adjusted p is below {plain(story.alpha)}.",
        f"The printed 95 % intervals of single languages come from {draws} of runs and examples, jointly over arms and languages{seeded}, "
        "calibrated to the spread of the two-way t. They are not adjusted for their number, so one may exclude zero where the adjusted p "
        "does not.",
        "Pooled gains are over these languages (fixed), with the dependence of languages that share runs taken into account.",
        "Scaling is decided on the pooled difference of gains (larger minus smaller encoder) by three tests: superiority, equivalence "
        f"within {margin} (two one-sided tests) and non-inferiority by the same margin; where none of them decides, it says cannot tell. "
        f"Collapse policies computed: {', '.join(names) or 'none'}.",
    ]
