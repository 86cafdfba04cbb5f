"""A chart of a part: bars of the ratios to the side that it compares with."""

from pathlib import Path

import pygal  # type: ignore[import-untyped]  # it has no types
from pygal.style import CleanStyle  # type: ignore[import-untyped]

from benchmarks.figures import Figures, Row


def draw(path: Path, title: str, measure: str, figures: Figures) -> None:
    """Draws the ratios of one measure into an SVG file."""
    cases = list(dict.fromkeys(row.case for row in figures.rows))
    chart = pygal.Bar(
        title=f"{title}: {measure}, {figures.against} = 1",
        style=CleanStyle,
        width=900,
        height=360,
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        js=[],  # a picture, without what it would fetch from elsewhere
        disable_xml_declaration=True,
        print_values=True,
        print_values_position="top",
        value_formatter=lambda value: "" if value is None else f"{value:.2g}" if value < 10 else f"{value:.0f}",
        min_scale=4,
        range=(0, None),
    )
    chart.x_labels = cases
    for side in dict.fromkeys(row.side for row in figures.rows):
        ratios = (1.0 if side == figures.against else figures.ratio(Row(case, side), measure) for case in cases)
        chart.add(side, list(ratios))
    path.write_text(chart.render(is_unicode=True), encoding="utf-8")
