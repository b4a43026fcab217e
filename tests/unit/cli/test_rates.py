"""The plot of the range test as text."""

from __future__ import annotations

import pytest

from stepwell.cli.rates import HEIGHT, WIDTH, plot

RATES = [10 ** (-4 + n / 10) for n in range(41)]
FALL = [5.0 - n / 20 for n in range(41)]


def test_a_straight_fall_goes_from_one_corner_to_the_other():
    lines = plot(RATES, FALL, 1e-2, None)
    rows = [line.partition("|")[2].ljust(WIDTH) for line in lines[:HEIGHT]]
    assert rows[0][0] == rows[-1][-1] == "*"
    assert [row.index("*") for row in rows] == sorted(row.index("*") for row in rows)
    assert lines[0].startswith("   5.00 |")
    assert lines[HEIGHT - 1].startswith("   3.00 |")
    assert "!" not in "".join(rows)


def test_marks_and_decades_stand_where_they_belong():
    lines = plot(RATES, FALL, 1e-2, 1e-1)
    middle = lines[1].partition("|")[2]
    assert middle.index(":") == round((WIDTH - 1) / 2)
    assert middle.index("!") == round((WIDTH - 1) * 3 / 4)
    foot = lines[-1][9:]
    assert foot.index("1e-2") == round((WIDTH - 1) / 2)
    assert foot.split() == ["1e-4", "1e-3", "1e-2", "1e-1", "1e0"]


def test_a_loss_that_ran_away_leaves_the_picture():
    lines = plot(RATES, [*FALL[:-1], 1000.0], 1e-2, None)
    assert lines[0].startswith("   5.97 |")
    assert all(len(line) <= WIDTH + 9 for line in lines)


@pytest.mark.parametrize("highest", [1.0, 5.0])
def test_a_mark_outside_the_curve_stands_at_its_border(highest):
    lines = plot(RATES, FALL, 1e-2, highest)
    assert lines[1].partition("|")[2][-1] == "!"
