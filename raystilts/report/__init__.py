"""From the analysis' tables to what people read: one HTML page, Markdown, figures, tables on disk, the terminal's verdicts."""

from raystilts.report.story import MINUS_PLAIN, OVER_PLAIN, Analysis, LanguageFacts, Story
from raystilts.report.terminal import verdict_lines
from raystilts.report.write import write_report

__all__ = ["MINUS_PLAIN", "OVER_PLAIN", "Analysis", "LanguageFacts", "Story", "verdict_lines", "write_report"]
