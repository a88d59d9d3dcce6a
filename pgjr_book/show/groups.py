"""Records in groups: by set, by variant, and both, each in the order of first appearance."""

from collections.abc import Callable, Hashable, Iterable

from pgjr_book.scored import ScoredSet, scored_set


def by_set(records: list[dict]) -> dict[ScoredSet, list[dict]]:
    """Group records by their set and split."""
    return grouped(records, scored_set)


def by_variant(records: list[dict]) -> dict[str, list[dict]]:
    """Group records by the id of their variant."""
    return grouped(records, lambda record: record["variant"])


def by_set_and_variant(records: list[dict]) -> dict[tuple[ScoredSet, str], list[dict]]:
    """Group records by their set and split and the id of their variant."""
    return grouped(records, lambda record: (scored_set(record), record["variant"]))


def grouped(items: Iterable, key: Callable[..., Hashable]) -> dict:
    """Group items by ``key``, in the order of first appearance."""
    groups: dict[Hashable, list] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
