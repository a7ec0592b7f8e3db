"""Plots against known coordinates, and what holds for all of them: titles, escaping, no ids."""

import itertools
import math
import random
import re
from xml.etree import ElementTree as ET

import pytest
from PIL import ImageFont

from genbench_leaderboard.plots import (
    STYLE,
    Axis,
    Bar,
    CloudPoint,
    Curve,
    CurvePoint,
    Dot,
    HeatCell,
    IntervalRow,
    Part,
    bar_plot,
    curve_plot,
    heat_map,
    interval_plot,
    pareto_front,
    point_cloud,
    scatter_plot,
)
from genbench_leaderboard.plots.scales import log_ticks, ticks
from genbench_leaderboard.plots.svg import SMALL, WIDTH, hatching, width_of

HOSTILE = '<script>"x"</script>&amp;\x1b[2J\u202e' + "y" * 400


def tree(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def labels(svg: str) -> dict[str, tuple[float, float]]:
    """Return where every text without a turn stands, by what it says."""
    return {
        "".join(one.itertext()): (float(one.attrib["x"]), float(one.attrib["y"]))
        for one in tree(svg).iter("text")
        if "transform" not in one.attrib
    }


def points(one: ET.Element) -> list[tuple[float, float]]:
    found = [float(part) for part in re.split(r"[ ,]", one.attrib["points"])]
    return list(zip(found[::2], found[1::2], strict=True))


def all_plots(text: str = "a") -> dict[str, str]:
    return {
        "intervals": interval_plot([IntervalRow(text, 0.5, -0.1, 1.1, "better")], text, text),
        "scatter": scatter_plot([Dot(text, 10, 0.5), Dot("b", 5, 0.2, text)], text, (text, text)),
        "heat": heat_map([text], [text], [[HeatCell(-0.5, text[:1])]], text),
        "curves": curve_plot([Curve(text, (CurvePoint(1, 2, 1, 3),))], text, Axis(text), Axis(text)),
        "cloud": point_cloud([CloudPoint(0.0, 1.0, 0)], [text], text),
        "bars": bar_plot([Bar(text, (Part(text, 2), Part("b", 3)), text)], text, text),
    }


@pytest.mark.parametrize("name", sorted(all_plots()))
def test_every_plot_has_a_name_and_a_description_and_escapes_what_it_is_told(name: str) -> None:
    root = tree(all_plots(HOSTILE)[name])  # parsed: nothing that was told became markup
    assert (root.tag, root.attrib["role"]) == ("svg", "img")
    first, second = list(root)[:2]
    assert (first.tag, second.tag) == ("title", "desc")
    assert first.text == root.attrib["aria-label"]
    assert (first.text or "").startswith("<script>")
    assert second.text
    assert {one.tag for one in root.iter()} <= {
        *("svg", "title", "desc", "g", "text", "line", "rect", "circle", "polygon", "polyline", "path")
    }
    for (
        one
    ) in root.iter():  # nothing that content security policies refuse, no id that a second plot would repeat
        assert not {"id", "style", "href", "onload"} & set(one.attrib)
        assert "".join(one.itertext()).replace("\n", "").isprintable()
    assert float(root.attrib["width"]) <= WIDTH


def test_intervals_stand_where_their_numbers_are() -> None:
    rows = [
        IntervalRow("first", 0.5, 0.25, 0.75, "better"),
        IntervalRow("second", -1.0, -2.0, 0.0, "worse"),
        IntervalRow("third", 0.1),
        IntervalRow("broken", math.nan, 0.0, 1.0),
    ]
    svg = interval_plot(rows, "Differences", "points")
    where = {tick: labels(svg)[tick.replace("-", "\u2212")][0] for tick in ("-2", "-1", "0")}
    unit = where["0"] - where["-1"]
    assert where["-1"] - where["-2"] == pytest.approx(unit, abs=0.02)
    groups = [one for one in tree(svg).iter("g") if one.attrib.get("class", "").startswith("series")][:3]
    ends = next((float(one.attrib["x1"]), float(one.attrib["x2"])) for one in groups[0].iter("line"))
    assert ends == pytest.approx((where["0"] + 0.25 * unit, where["0"] + 0.75 * unit), abs=0.03)
    assert not list(groups[2].iter("line"))  # no interval, none drawn
    shapes = [next(iter(one.iter("polygon"))) for one in groups]
    assert sum(x for x, _ in points(shapes[0])) / 3 == pytest.approx(where["0"] + 0.5 * unit, abs=0.05)
    # In black and white: better points up, worse down, no verdict is open.
    assert points(shapes[0])[0][1] < points(shapes[0])[1][1]
    assert points(shapes[1])[0][1] > points(shapes[1])[1][1]
    assert shapes[2].attrib["fill"] != "currentColor"
    assert "broken" not in svg
    numbers = labels(svg)["+0.50 \u00b10.25"][0] - 0.56 * 12 * 11  # written in a column of their own
    assert numbers > max(float(one.attrib["x2"]) for one in tree(svg).iter("line"))
    upright = [one.attrib for one in tree(svg).iter("line") if one.attrib["x1"] == one.attrib["x2"]]
    for name in ("first", "second", "third"):  # no line runs through a name
        base = labels(svg)[name][1]
        assert all(float(one["y1"]) > base or float(one["y2"]) < base - 10 for one in upright), name


def test_the_pareto_front_is_that_of_brute_force() -> None:
    rng = random.Random("front")
    for count, grid in itertools.product((0, 1, 2, 7, 40), (3, 1000)):
        dots = [(float(rng.randint(1, grid)), float(rng.randint(-grid, grid))) for _ in range(count)]
        beaten = {
            place
            for place, (x, y) in enumerate(dots)
            if any(a <= x and b >= y and (a, b) != (x, y) for a, b in dots)
        }
        assert sorted(pareto_front(dots)) == sorted(set(range(count)) - beaten)


@pytest.mark.parametrize(("least", "is_there"), [(0.0, False), (-2.0, True), (0.5, False)])
def test_a_cheaper_loss_is_on_no_front_where_something_does_without_one(least: float, is_there: bool) -> None:
    """A training that was half a second shorter by chance is no reason to lose six points."""
    dots = [Dot("loss", 55.0, -6.2), Dot("same", 55.6, least), Dot("dear", 60.0, -1.0 if is_there else 0.1)]
    svg = scatter_plot(dots, "Gain", ("seconds", "points"))
    told = next(element.text or "" for element in tree(svg).iter() if element.tag.endswith("desc"))
    assert ("loss (" in told) == is_there
    assert "same (" in told


def test_dots_on_the_front_are_filled_and_cost_is_logarithmic() -> None:
    dots = [
        Dot("cheap", 10, 0.0, "baseline"),
        Dot("good", 100, 1.0),
        Dot("dear", 1000, 0.5),
        Dot("free", 0, 9),
    ]
    root = tree(scatter_plot(dots, "Gain", ("seconds", "points")))
    drawn = {
        (one.findtext("title") or "").partition(":")[0]: one for one in root.iter() if one.findtext("title")
    }
    assert {name for name, one in drawn.items() if one.attrib.get("fill") == "currentColor"} >= {
        "cheap",
        "good",
    }
    assert drawn["dear"].attrib["fill"] != "currentColor"
    assert "free" not in drawn
    x = {name: float(drawn[name].attrib["cx"]) for name in ("good", "dear")}
    start = sum(one[0] for one in points(drawn["cheap"])) / 4
    assert x["dear"] - x["good"] == pytest.approx(x["good"] - start, abs=0.05)
    assert root.findtext("desc") == (
        "On the Pareto front, from cheap to dear: cheap (0.00 at 10); good (+1.00 at 100)."
    )


def test_names_in_a_scatter_plot_cross_nothing_and_belong_to_the_nearest_dot() -> None:
    dots = [Dot("real images alone, standard", 2.7, 0.0, "baseline"), Dot("copies, standard", 2.4, -0.04)]
    dots += [Dot("real images alone, strong", 3.4, 0.91), Dot("copies, strong", 3.2, -0.15)]
    dots += [Dot("DDPM, strong", 37, 0.33), Dot("DDPM, standard", 36, -0.26)]
    svg = scatter_plot(dots, "Gain", ("seconds", "points"))
    written = labels(svg)
    lines = next(points(one) for one in tree(svg).iter("polyline"))
    zero = next(float(one.attrib["y1"]) for one in tree(svg).iter("line") if "stroke-dasharray" in one.attrib)
    ticks_x = {tick: written[tick][0] for tick in ("5", "20")}
    ticks_y = {tick: written[tick][1] - 4 for tick in ("0", "0.5")}

    def place(dot: Dot) -> tuple[float, float]:
        share = math.log(dot.x / 5) / math.log(4)
        return ticks_x["5"] + share * (ticks_x["20"] - ticks_x["5"]), ticks_y["0"] + 2 * dot.y * (
            ticks_y["0.5"] - ticks_y["0"]
        )

    where = {dot.label: place(dot) for dot in dots}
    keyed = {name for name in where if written[name][1] > 260}  # in the legend
    assert 0 < len(keyed) < len(dots)
    for name in where.keys() - keyed:
        x, y = written[name]
        box = (x, y - 10, x + 0.56 * 10.5 * len(name), y + 2)
        assert not box[1] < zero < box[3], name
        for (x0, y0), (x1, y1) in itertools.pairwise(lines):
            crosses = max(x0, x1) > box[0] and min(x0, x1) < box[2]
            assert not (crosses and max(y0, y1) > box[1] and min(y0, y1) < box[3]), name

        def far(dot: tuple[float, float], box: tuple[float, float, float, float] = box) -> float:
            return math.hypot(
                max(box[0] - dot[0], dot[0] - box[2], 0), max(box[1] - dot[1], dot[1] - box[3], 0)
            )

        assert min(where, key=lambda one: far(where[one])) == name


@pytest.mark.parametrize(
    "text", ["DDPM", "CVAE", "real images alone", "CutMix, strong", "ViT tiny", "WWW", "ill", "copies +0.5"]
)
def test_text_is_not_wider_than_its_place(text: str) -> None:
    """Names in capitals were cut at the edge, and covered the dots that they name."""
    drawn = ImageFont.load_default(40).getlength(text)
    assert 0.95 * drawn < width_of(text, 40) < 1.45 * drawn


def test_names_of_a_heat_map_are_whole() -> None:
    columns = ["computed-elastic_transform-3", "computed-jpeg_compression-3", "natural-shift-9"]
    rows = ["more real images, standard", "DDPM filtered by confidence, standard"]
    svg = heat_map(rows, columns, [[HeatCell(0.1)] * 3] * 2, "Shifts")
    texts = {element.text for element in tree(svg).iter() if element.tag.endswith("text")}
    assert set(columns) <= texts
    written = labels(svg)
    left = written["more real images, standard"][0] - 0.6 * SMALL * len("more real images, standard")
    assert left >= 0, "the widest letters of any font fit"


def test_a_heat_map_colours_what_an_interval_keeps_from_zero() -> None:
    sure, half = HeatCell(1.0, low=0.8, high=1.2), HeatCell(-0.5, "*", -0.6, -0.4)
    noise, same = HeatCell(-9.0, low=-60.0, high=42.0), HeatCell(0.0, note="no spread between seeds")
    cells = [[sure, half, noise], [HeatCell(None), same, HeatCell(7.0)]]
    root = tree(heat_map(["a", "b"], ["cat", "dog", "owl"], cells, "Classes"))
    shades = {one.findtext("title"): float(one.attrib["fill-opacity"]) for one in root.iter("rect")}
    assert shades == {
        "a, cat: +1.0 (+0.8 to +1.2)": 0.5,
        "a, dog: \u22120.5* (\u22120.6 to \u22120.4)": 0.31,
        "a, owl: \u22129.0 (\u221260.0 to +42.0)": 0.0,
        "b, dog: 0.0; no spread between seeds": 0.0,
        "b, owl: +7.0": 0.0,
    }
    assert len(list(root.iter("line"))) == 1  # the loss that is none of noise
    assert [one.text for one in root.iter("text") if "font-weight" in one.attrib] == ["\u22120.5*"]
    assert (root.findtext("desc") or "").endswith(
        "Smallest: \u22129.00 (a, owl). The intervals of 2 cells exclude zero."
    )


def test_curves_go_through_their_points_and_differ_without_colour() -> None:
    found = [Curve(name, tuple(CurvePoint(x, x * k) for x in (4, 1, 2))) for k, name in enumerate("ab", 1)]
    level = Curve("none", (CurvePoint(0, 3),), level=True)
    svg = curve_plot(
        [*found, level], "Ratio", Axis("ratio", log=True, named=(1, 2, 4)), Axis("top-1", zero=True)
    )
    lines = list(tree(svg).iter("polyline"))[:3]
    words = {one.text: float(one.attrib["x"]) for one in list(tree(svg).iter("text"))[:3]}
    xs = [words[name] for name in ("1", "2", "4")]
    assert [x for x, _ in points(lines[0])] == pytest.approx(xs, abs=0.05)  # sorted, and where the axis says
    (y0, y1), y2 = [y for _, y in points(lines[0])][:2], points(lines[0])[2][1]
    assert (y0 - y1) == pytest.approx((y1 - y2) / 2, abs=0.05)  # 1, 2 and 4 on a linear axis
    assert points(lines[2])[0][1] == points(lines[2])[1][1] == pytest.approx((y1 + y2) / 2, abs=0.05)
    dashes = {one.attrib.get("stroke-dasharray") for one in lines}
    assert len(dashes) == 3
    logarithmic = curve_plot(found, "Loss", Axis("step"), Axis("loss", log=True))
    y = [one for _, one in points(next(iter(tree(logarithmic).iter("polyline"))))]
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.05)


def test_parts_of_a_bar_follow_each_other_and_are_hatched() -> None:
    bars = [
        Bar("row", (Part("fit", 3), Part("train", 1), Part("bad", math.nan))),
        Bar("none", (Part("train", 1),)),
    ]
    root = tree(bar_plot(bars, "Cost", "seconds"))
    boxes = [one for one in root.iter("rect") if one.findtext("title")]
    start, wide = ([float(one.attrib[name]) for one in boxes] for name in ("x", "width"))
    assert start[0] + wide[0] == pytest.approx(start[1], abs=0.02)
    assert (start[2], wide[2]) == pytest.approx((start[0], wide[0] / 3), abs=0.02)
    assert root.findtext("desc") == "row: fit 3, train 1; none: 1"
    box = (10.0, 20.0, 31.0, 13.0)
    for kind in range(1, 6):  # 0 is plain
        numbers = re.findall(r"([MLhv])(-?[\d.]+)(?: (-?[\d.]+))?", tree(hatching(box, kind)).attrib["d"])
        assert numbers, kind
        for letter, x, y in numbers:
            if letter in "ML":
                assert 10 - 0.06 <= float(x) <= 41.06, kind
                assert 20 - 0.06 <= float(y) <= 33.06, kind
    assert tree(hatching(box, 0)).attrib["d"] == ""


@pytest.mark.parametrize(("low", "high"), [(-3.2, 5.1), (96.111, 96.113), (0, 1e6), (-1e-7, 1e-7)])
def test_axes_name_round_numbers_within_their_limits(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low <= one <= high for one in found)
    steps = {round((b - a) / (found[1] - found[0]), 6) for a, b in itertools.pairwise(found)}
    assert steps == {1.0}
    assert f"{found[1] - found[0]:.0e}"[0] in "125"


def test_logarithmic_axes_name_powers() -> None:
    assert log_ticks(2, 40) == [2.0, 5.0, 10.0, 20.0]
    assert ticks(3, 3) == [3]


def test_points_of_a_cloud_are_signs_of_their_class() -> None:
    drawn = point_cloud(
        [CloudPoint(0, 0, 0), CloudPoint(4, 2, 11), CloudPoint(math.nan, 0, 1)], ["a"] * 12, "t"
    )
    found = [(one.text, float(one.attrib["x"]), float(one.attrib["y"])) for one in tree(drawn).iter("text")][
        :2
    ]
    (zero, left, below), (b, right, above) = found
    assert (zero, b) == ("0", "B")
    assert left < right
    assert above < below
    assert "2 points of 2 classes." in drawn


def test_nothing_to_draw_is_said() -> None:
    assert "nothing to draw" in scatter_plot([Dot("a", 0, 1)], "t", ("x", "y"))
    assert "nothing to draw" in curve_plot([], "t", Axis("x"), Axis("y"))
    assert "No numbers" in heat_map(["a"], ["b"], [[HeatCell(None)]], "t")


def test_colours_are_told_apart_from_their_ground() -> None:
    """WCAG 2.1, 1.4.11: at least 3 to 1, for light and dark pages."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark = STYLE.index("@media")
    end = STYLE.index("@media print")
    for ground, part in (("#ffffff", STYLE[:dark]), ("#14171c", STYLE[dark:end])):
        colours = re.findall(r"\.series-\d\{color:(#\w{6})\}", part)
        assert len(colours) == 8
        for colour in colours:
            light, low = sorted((luminance(ground), luminance(colour)), reverse=True)
            assert (light + 0.05) / (low + 0.05) >= 3, colour
