"""Pure: the actions of a route in an order in which each stands after what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def in_order_of_needs(needs: Mapping[str, Sequence[str]]) -> tuple[list[str], list[tuple[str, ...]]]:
    """The names in such an order, else in their own; and the circles, each from a name back to itself. Names in circles
    are not among the ordered ones; needs that are no names are passed over.
    """
    ordered: list[str] = []
    circles: list[tuple[str, ...]] = []
    finished: set[str] = set()
    for first in needs:
        trail: dict[str, Iterator[str]] = {} if first in finished else {first: iter(needs[first])}
        while trail:
            name, left = next(reversed(trail.items()))
            need = next((name for name in left if name in needs and name not in finished), None)
            if need is None:
                del trail[name]
                if name not in finished:
                    finished.add(name)
                    ordered.append(name)
            elif need in trail:
                names = list(trail)
                circle = (*names[names.index(need) :], need)
                circles.append(circle)
                finished.update(circle)
            else:
                trail[need] = iter(needs[need])
    return ordered, circles
