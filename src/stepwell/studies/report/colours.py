"""One colour for each round, from sunlit stone at the top of the stair to deep water at its foot.

Rounds have an order, so their colours are a ramp and not a box of crayons: any number of rounds fits, and lightness
falls all the way, so that six rounds stay apart for every common kind of colour blindness. Each theme has its own
ramp, at least 3:1 against its ground. This file leaves out the page's other colours, which are in report.css.
"""

from __future__ import annotations

LIGHT = ("#9a8a00", "#b75645", "#a82c49", "#541fb1", "#06334e")
DARK = ("#e2eb52", "#fcbbab", "#fe94ad", "#a08cfe", "#7775fe")


def ramp(count: int, anchors: tuple[str, ...]) -> list[str]:
    """So many colours, evenly spaced along the anchors; one round alone takes the last (water).

    Args:
        count: number of colours, at least 0.
        anchors: `#rrggbb` texts, at least two.
    """
    if count == 1:
        return [anchors[-1]]
    return [_between(anchors, at / (count - 1) * (len(anchors) - 1)) for at in range(count)]


def round_rules(rounds: list[int]) -> str:
    """The style rules for these rounds: `.r3` gives the colour, and pointing at one dims the others."""

    def block(anchors: tuple[str, ...]) -> str:
        colours = zip(rounds, ramp(len(rounds), anchors), strict=True)
        return "".join(f".r{which}{{--c:{colour}}}" for which, colour in colours)

    alone = "".join(f".curves:has(.r{which}:hover) :is(.curve,.key):not(.r{which}){{opacity:.13}}" for which in rounds)
    dark = f"@media screen and (prefers-color-scheme:dark){{{block(DARK)}}}"
    return f"{block(LIGHT)}{dark}@media screen{{{alone}}}"


def _between(anchors: tuple[str, ...], place: float) -> str:
    low = min(int(place), len(anchors) - 2)
    share = place - low
    pairs = zip(_channels(anchors[low]), _channels(anchors[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
