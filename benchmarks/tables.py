"""Figures as tables: each with its ratio to the side that the part compares with."""

from rich.table import Table

from benchmarks.figures import Figures, Row

COUNTED = ("%", "that differ", "that match")
"""How the names of measures end whose ratios say nothing."""


def table(title: str, figures: Figures) -> Table:
    made = Table(title=f"{title}\n(ratios to {figures.against})", title_justify="left", title_style="bold")
    made.add_column("case")
    made.add_column("side")
    for measure in figures.measures:
        made.add_column(measure, justify="right")
    last = ""
    for row in figures.rows:
        if last and row.case != last:
            made.add_section()
        cells = (_cell(figures, row, measure) for measure in figures.measures)
        made.add_row(row.case if row.case != last else "", row.side, *cells)
        last = row.case
    return made


def number(value: float) -> str:
    """With three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cell(figures: Figures, row: Row, measure: str) -> str:
    value, ratio = figures.value(row, measure), figures.ratio(row, measure)
    if value is None:
        return ""
    return number(value) if ratio is None or measure.endswith(COUNTED) else f"{number(value)} (x{number(ratio)})"
