"""The report's tables as LaTeX (booktabs), to paste into a paper."""

from __future__ import annotations

import re

from raystilts.report.tables import Field, Table

LONG = 40
"""Rows beyond which a table breaks over pages (longtable)."""
PROSE = 30
"""Letters beyond which a column's cells are broken into lines."""
NARROW, WIDE = 450, 690
"""Points: the width of an A4 page's text, and its height, along which a wider table is laid."""
LETTER, GAP = 3.9, 6
"""Points that a letter of \\scriptsize takes at most on average, and the gap between two columns."""
PACKAGES = "% needs \\usepackage{booktabs,amssymb,array,longtable,pdflscape}"
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--", "→": r"$\rightarrow$", "“": "``", "”": "''", "●": r"$\bullet$",
    "▼": r"$\blacktriangledown$", "○": r"$\circ$", "✕": r"$\times$", "…": r"\ldots{}",
}  # fmt: skip


def latex(table: Table, label: str) -> str:
    """A table for a page of its own width or, where it is wider, across a page. Numbers are those of the page; columns are left out that
    are empty or repeat another for the page's filters.
    """
    places = [
        place
        for place, column in enumerate(table.columns)
        if not column.repeats and (not table.rows or any(row[place].text for row in table.rows))
    ]
    spec, across = _columns(table, places)
    head = " & ".join(escape(table.columns[place].title) for place in places) + r" \\"
    # The braces keep a first cell that begins with a bracket from being the optional argument of the line before.
    body = [f"{{}}{' & '.join(_cell(row[place], number=table.columns[place].number) for place in places)} \\\\" for row in table.rows]
    caption = rf"\caption{{{escape(table.title)}. {escape(table.note)}}}\label{{tab:{label}}}"
    begin = [r"\begingroup", rf"\scriptsize\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}"]
    if len(table.rows) > LONG:
        lines = [*begin, rf"\begin{{longtable}}{{{spec}}}", caption + r" \\", r"\toprule", head, r"\midrule", r"\endfirsthead"]
        lines += [r"\toprule", head, r"\midrule", r"\endhead", *body, r"\bottomrule", r"\end{longtable}", r"\endgroup"]
    else:
        lines = [r"\begin{table}", r"\centering", caption, *begin, rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule", *body]
        lines += [r"\bottomrule", r"\end{tabular}", r"\endgroup", r"\end{table}"]
    lines = [r"\begin{landscape}", *lines, r"\end{landscape}"] if across else lines
    return "\n".join([PACKAGES, *lines]) + "\n"


def _columns(table: Table, places: list[int]) -> tuple[str, bool]:
    """The columns' kinds, and whether they lie across the page: those of prose share what the others leave of its width."""
    letters = {place: max(len(text) for text in [table.columns[place].title, *(row[place].text for row in table.rows)]) for place in places}
    prose = [place for place in places if letters[place] > PROSE]
    fixed = GAP * len(places) + LETTER * sum(letters[place] for place in places if place not in prose)
    wanted = fixed + LETTER * sum(min(letters[place], 2 * PROSE) for place in prose)
    across = wanted > NARROW
    left = (WIDE if across else NARROW) - fixed
    share = max(left / len(prose), LETTER * 10) if prose else 0
    kinds = {place: rf">{{\raggedright\arraybackslash}}p{{{min(share, LETTER * letters[place]):.0f}pt}}" for place in prose}
    return "".join(kinds.get(place, "r" if table.columns[place].number else "l") for place in places), across


def _cell(field: Field, *, number: bool) -> str:
    text = re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", field.text) if number else field.text
    return escape(text)


def escape(text: str) -> str:
    """Any text as LaTeX that prints it."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))
