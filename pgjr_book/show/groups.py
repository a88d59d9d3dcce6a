"""Records in groups: by set, by variant, and both, each in the order of first appearance."""

from collections.abc import Callable, Hashable, Iterable, Iterator

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


def heads_beside_priors(records: list[dict]) -> Iterator[tuple[ScoredSet, list[dict], list[dict]]]:
    """Yield each set with the runs of pGJR and those of k-means on the same prior, where both were run."""
    for where, group in by_set(records).items():
        variants = by_variant(group)
        for variant, heads in variants.items():
            own = variant.removesuffix("pgjr")  # "" or "<prior>/"
            if own != variant and f"{own}prior" in variants:
                yield where, heads, variants[f"{own}prior"]


def grouped(items: Iterable, key: Callable[..., Hashable]) -> dict:
    """Group items by ``key``, in the order of first appearance."""
    groups: dict[Hashable, list] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
