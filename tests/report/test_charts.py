"""Charts: the ticks of an axis have different labels."""

import re

import pytest

from elman.report.charts import Curve, chart


def labels(xs: list[float], ys: list[float], scale: str = "") -> list[str]:
    """Return the texts of a chart except the names of its axes."""
    found = re.findall(
        r"<text[^>]*>([^<]*)</text>", chart("t", ("x", "y"), [Curve(xs, ys)], scale=scale)
    )
    return [text.replace("\N{MINUS SIGN}", "-") for text in found if text not in ("x", "y")]


@pytest.mark.parametrize(
    ("ys", "wanted"),
    [
        (
            [1e7 + 1, 1e7 + 20, 1e7 + 50, 1e7 + 80],
            ["10000000", "10000020", "10000040", "10000060", "10000080"],
        ),
        ([123456.1, 123456.9], ["123456.2", "123456.4", "123456.6", "123456.8"]),
        ([-1e6 - 1, -1e6 + 1], ["-1000001", "-1000000.5", "-1000000", "-999999.5", "-999999"]),
        ([0.0, 0.8], ["0", "0.2", "0.4", "0.6", "0.8"]),
        ([0.0, 8e9], ["0", "2e+09", "4e+09", "6e+09", "8e+09"]),
    ],
)
def test_labels_of_ticks_have_enough_digits_to_differ(ys: list[float], wanted: list[str]) -> None:
    xs = [float(n) for n in range(len(ys))]
    assert labels(xs, ys)[-len(wanted) :] == wanted


def test_labels_of_steps_are_not_rounded_to_the_same_number() -> None:
    assert labels([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])[:5] == ["0.1", "0.15", "0.2", "0.25", "0.3"]
    assert labels([5.0], [1.0])[0] == "5"
    assert labels([5.0], [1.0]).count("5") == 1
    assert labels([0.0, 20000.0], [1.0, 2.0])[:5] == ["0", "5000", "10,000", "15,000", "20,000"]


def test_places_far_from_the_origin_have_different_labels_on_both_axes() -> None:
    found = [float(text) for text in labels([1e7 + 1, 1e7 + 20], [1e7, 1e7 + 8], "plane")]
    split = next(n for n in range(1, len(found)) if found[n] < found[n - 1])
    for some in (found[:split], found[split:]):
        assert len(set(some)) == len(some) > 2


def test_long_labels_of_ticks_do_not_cover_the_name_of_the_axis() -> None:
    def left(ys: list[float]) -> float:
        picture = chart("t", ("x", "y"), [Curve([0.0, 1.0], ys)])
        lines = re.findall(r'<path d="M ([\d.]+) [^"]*" clip-path', picture)
        return float(lines[0])

    # Each of the characters beyond six takes 5.8 of the 331.2 points.
    assert left([1e7, 1e7 + 80]) - left([0.0, 0.8]) == pytest.approx(2 * 5.8, abs=0.1)
