"""A profile's plan and its cost as text, for the terminal."""

import textwrap


def plan_text(profile, planned, cost=None, free_bytes: int = 0) -> str:
    """Return runs, hours and disk of a profile, and what is recorded, must be fetched or is missing.

    Args:
        profile: the manifest's entry.
        planned: its :class:`pgjr_book.make.Plan`.
        cost: its :class:`pgjr_book.make.Cost`; None for a profile that renders committed records.
        free_bytes: free space on the disk.
    """
    lines = [*textwrap.wrap(f"profile {planned.profile}: {profile.about}", 90), ""]
    if cost is None:
        for name, entry in planned.experiments.items():
            runs = entry.experiment.runs
            recorded = sum(run.config in entry.paths for run in runs)
            lines.append(f"  {name:<15} {recorded} of {len(runs)} records are committed")
        return "\n".join([*lines, "", "This profile trains nothing."])
    lines.append(f"  {'experiment':<15} {'runs':>5} {'new':>5} {'hours':>8} {'minutes a run':>14}")
    lines += [
        f"  {row.name:<15} {row.runs:>5} {row.new:>5} {row.hours:>8.2f} {row.longest_minutes:>14.1f}{'  optional' * row.optional}"
        for row in cost.experiments
    ]
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in cost.rates)
    lines += [
        "",
        f"  features: {cost.folders} folders, {cost.encodings:,} encodings, {cost.encoding_hours:.2f} hours, "
        f"up to {cost.disk_bytes / 2**30:.2f} GiB (free: {free_bytes / 2**30:.0f} GiB)",
        f"  runs: {cost.runs} different ones, {cost.recorded} of them made here already",
        f"  together about {cost.hours:.2f} hours{_machine(cost.card)}",
        f"  rates ({cost.card.source if cost.card else 'assumed'}): {rates} images a second{_scoring(cost.card)}",
    ]
    if any(row.optional for row in cost.experiments):
        lines.append("  hours and disk include the optional experiments; one whose prior cannot be fetched is left out")
    how = "make book fetches it, or python -m pgjr_book fetch"
    lines += [f"  to fetch: {prior} ({how})" for prior in planned.to_fetch]
    lines += [f"  missing: {sentence}" for sentence in planned.missing]
    return "\n".join(lines)


def _machine(card) -> str:
    """Name the card of a plan, and how many runs it takes side by side."""
    if card is None:
        return ""
    return f" on {card.about}{f', {card.jobs} runs side by side' if card.jobs > 1 else ''}"


def _scoring(card) -> str:
    return f", {card.scoring_s:g} s to score a run" if card else ""
