"""Records in, DataFrames out. Scores are in points (0 to 100); a run that failed has no record and no cell."""

import base64
import html

import numpy as np
import pandas as pd

from pgjr_lib.companion import claims

METRICS = ("nmi", "acc", "ari")


def mean_sd(values) -> str:
    """ "mean ± sd" with one decimal; the mean alone where there is one value."""
    values = np.asarray(list(values), dtype=float)
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" if len(values) > 1 else f"{values.mean():.1f}"


def components(records: list[dict]) -> pd.DataFrame:
    """Table 5: one row a variant: mean ± sd over training seeds, and the spread over k-means seeds apart."""
    rows = []
    for (dataset, label), group in _grouped(records, "dataset", "label").items():
        row = {"set": dataset, "variant": label}
        for metric in METRICS:
            row[metric.upper()] = mean_sd(claims.score(record, metric) for record in group)
        spread = [100 * np.std(record["scores"]["plain"]["nmi"], ddof=1) for record in group]
        row["k-means sd (NMI)"] = f"{np.mean(spread):.1f}"
        row["seeds"] = len(group)
        rows.append(row)
    return pd.DataFrame(rows)


def comparisons(records: list[dict], compared: list[tuple[str, str]]) -> pd.DataFrame:
    """Paired differences in NMI points, same set and seed, with Student-t intervals; ``compared`` pairs labels."""
    rows = []
    for first, second in compared:
        matched = claims.pairs(records, lambda r, n=first: r["label"] == n, lambda r, n=second: r["label"] == n)
        for dataset, found in matched.items():
            differences = [claims.score(a) - claims.score(b) for a, b in found]
            if len(differences) > 1:
                mean, low, high = claims.paired_interval(differences)
                rows.append({"set": dataset, "comparison": f"{first} − {second}", "NMI difference": f"{mean:+.1f}",
                             "95 % interval": f"{low:+.1f} to {high:+.1f}", "pairs": len(differences)})  # fmt: skip
    return pd.DataFrame(rows)


def convergence(records: list[dict]) -> pd.DataFrame:
    """Claim 1's numbers as a table, one row a pair of runs."""
    rows = [{"set": row["dataset"], "seed": row["seed"], "NMI to reach": f"{100 * row['target']:.1f}",
             "GJR epochs": row["gjr_epoch"], "GJR seconds": f"{row['gjr_seconds']:.1f}",
             "pGJR epochs": row["pgjr_epoch"], "pGJR seconds": f"{row['pgjr_seconds']:.1f}",
             "still gaining": "yes" if row["still_gaining"] else "no"}
            for row in claims.convergence(records)]  # fmt: skip
    return pd.DataFrame(rows)


def ledger(records: list[dict]) -> pd.DataFrame:
    """The claims with their verdicts."""
    rows = claims.ledger(records)
    return pd.DataFrame({
        "claim": [f"{row['number']}. {row['statement']}" for row in rows],
        "on the paper’s setting": [row["paper"] for row in rows],
        "on our stand-in": [row["stand_in"] for row in rows],
        "evidence": [row["evidence"] for row in rows],
    })  # fmt: skip


def provenance(records: list[dict]) -> str:
    """Where the numbers of a page come from, as an HTML box."""
    if not records:
        return "<p><strong>Provenance.</strong> Not run: this profile has no record for this page.</p>"
    made = [record["provenance"] for record in records]
    unique = lambda values: ", ".join(sorted({str(value) for value in values if value}))  # noqa: E731
    lines = {
        "runs": f"{len(records)} records: " + " ".join(f"{record['key'][:8]}" for record in records),
        "data": unique(f"{r['data']['name']} ({r['data']['split']}, {r['data']['count']:,} images, "
                       f"SHA-256 {r['data']['checksum'][:12]})" for r in records),
        "weights": unique(f"{r['weights']['name']} (SHA-256 {r['weights']['checksum'][:12]})"
                          for r in records if r["weights"]) or "none",
        "commit": unique(f"{m['commit'][:10]}{' + changes' if m['dirty'] else ''}" for m in made if m["commit"]),
        "seeds": unique(record["config"]["seed"] for record in records),
        "device": unique(f"{m['device']} ({m['host_cpu']}, {m['threads']} threads)" for m in made),
        "versions": unique(f"torch {m['versions']['torch']}" for m in made),
        "computed": f"{min(m['started'] for m in made)[:16]} to {max(m['started'] for m in made)[:16]} UTC",
        "together": f"{sum(record['timings']['total_s'] for record in records) / 60:.1f} minutes",
    }  # fmt: skip
    items = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in lines.items())
    return f'<details class="provenance"><summary>Provenance</summary><dl>{items}</dl></details>'


def _grouped(records: list[dict], *names: str) -> dict:
    """Records by config field (or ``label``), in the order of their first appearance."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        key = tuple(record["label"] if name == "label" else record["config"][name] for name in names)
        groups.setdefault(key, []).append(record)
    return groups


def as_html(table: pd.DataFrame, name: str) -> str:
    """The table as HTML with a link to its CSV, which travels inside the page; "not run" where it is empty."""
    if table.empty:
        return "<p><em>Not run: this profile has no record for this table.</em></p>"
    body = table.to_html(index=False, escape=True, border=0, classes="table")
    data = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return f'{body}<p><a download="{name}.csv" href="data:text/csv;base64,{data}">{name}.csv</a></p>'
