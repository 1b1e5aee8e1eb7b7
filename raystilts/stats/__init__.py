"""Statistics that stand alone: arrays and Arrow tables in, frozen results and tidy tables out (numpy, scipy, pyarrow)."""

from raystilts.stats.adaptive import by_looks
from raystilts.stats.analysis import Analysis, analyse
from raystilts.stats.bootstrap import calibrated, crossed_bootstrap, percentile
from raystilts.stats.estimate import Cell, Estimate, Moments, estimate, moments, two_way
from raystilts.stats.families import at_least, benjamini_hochberg, benjamini_yekutieli, holm, max_t, partial_conjunction
from raystilts.stats.findings import clopper_pearson
from raystilts.stats.further import FURTHER, further_tables
from raystilts.stats.ledger import CLAIMS, Claim, judge
from raystilts.stats.plan import POLICIES, Contrast, Interaction, Plan, StatsError
from raystilts.stats.pooled import Pooled, heterogeneity, pool
from raystilts.stats.power import detectable_effect, power, seeds_needed, with_seeds
from raystilts.stats.practices import alternatives_table
from raystilts.stats.scaling import Decision, decide
from raystilts.stats.scores import analyse_scores
from raystilts.stats.selection import Selected, select, selection_table
from raystilts.stats.sequential import Look, looks, next_seeds, review, seed_looks, undecided

__all__ = [
    "CLAIMS",
    "FURTHER",
    "POLICIES",
    "Analysis",
    "Cell",
    "Claim",
    "Contrast",
    "Decision",
    "Estimate",
    "Interaction",
    "Look",
    "Moments",
    "Plan",
    "Pooled",
    "Selected",
    "StatsError",
    "alternatives_table",
    "analyse",
    "analyse_scores",
    "at_least",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "by_looks",
    "calibrated",
    "clopper_pearson",
    "crossed_bootstrap",
    "decide",
    "detectable_effect",
    "estimate",
    "further_tables",
    "heterogeneity",
    "holm",
    "judge",
    "looks",
    "max_t",
    "moments",
    "next_seeds",
    "partial_conjunction",
    "percentile",
    "pool",
    "power",
    "review",
    "seed_looks",
    "seeds_needed",
    "select",
    "selection_table",
    "two_way",
    "undecided",
    "with_seeds",
]
