"""A chart of a part: bars of the ratios to the side that it compares with."""

from pathlib import Path

import pygal  # type: ignore[import-untyped]  # it has no types
from pygal.style import CleanStyle  # type: ignore[import-untyped]  # nor has this

from benchmarks.figures import Figures, Row


def draw(path: Path, title: str, measure: str, figures: Figures) -> None:
    """Draws the ratios of one measure into an SVG file."""
    cases = list(dict.fromkeys(row.case for row in figures.rows))
    sides = list(dict.fromkeys(row.side for row in figures.rows))
    chart = pygal.HorizontalBar(
        title=f"{title}: {measure}, {figures.against} = 1",
        style=CleanStyle(
            background="white",
            value_font_size=11,
            legend_font_size=12,
            label_font_size=12,
            title_font_size=14,
            value_colors=["black"] * len(sides),
        ),
        width=900,
        height=150 + 17 * len(cases) * len(sides),
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        js=[],  # a picture, without what it would fetch from elsewhere
        disable_xml_declaration=True,
        print_values=True,
        print_values_position="top",
        value_formatter=_ratio,
        range=(0, None),
    )
    # the first at the top, as in the table
    chart.x_labels = cases[::-1]
    for side in sides:
        ratios = (1.0 if side == figures.against else figures.ratio(Row(case, side), measure) for case in cases[::-1])
        chart.add(side, list(ratios))
    path.write_text(chart.render(is_unicode=True), encoding="utf-8")


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if value < 10 else f"{value:.0f}"
