"""Records in, DataFrames out. Scores are in points (0 to 100); a run that failed has no record and no cell."""

import base64
import html

import numpy as np
import pandas as pd

from pgjr_book import verdicts as claims
from pgjr_book.run_config import LABELS_SEEN, digest
from pgjr_lib.data import loading as datasets

METRICS = ("nmi", "acc", "ari")
MARKS = {  # sets whose labels were seen, and when
    "†": (("stl10", "digits"), "development set: its labels were seen while settings were chosen."),
    "‡": (("cifar10",), "its labels were seen in early trials and when priors were compared, not while settings were chosen."),
}
JIGSAW_PAIRS = {  # with the jigsaw, without it, and the seeds that decide
    "GJR": (claims.is_gjr, claims.is_idfd, claims.SEEDS_CNN),
    "pGJR": (claims.is_pgjr, claims.is_pgjr_without, claims.SEEDS_HEAD),
}
ALSO_SCORED = {  # a record's other features, and how tables call them
    "standardised": "the same, standardised", "view_mean": "the same, mean over views", "bank": "the same, memory bank",
}  # fmt: skip


def mean_sd(values) -> str:
    """ "mean ± sd" with one decimal; the mean alone where there is one value."""
    values = np.asarray(list(values), dtype=float)
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" if len(values) > 1 else f"{values.mean():.1f}"


def components(records: list[dict]) -> pd.DataFrame:
    """Table 5: one row a variant: mean ± sd over training seeds, and the spread over k-means seeds apart.

    Below a variant stand the other features its runs scored: standardised, mean over views, memory bank.
    """
    rows = []
    for (dataset, label), group in grouped(records, "set", "label").items():
        for features, told in {"plain": label, **ALSO_SCORED}.items():
            found = [record["scores"][features] for record in group if features in record["scores"]]
            if found:
                points = {m: [100 * np.mean(scores[m]) for scores in found] for m in METRICS}
                spread = [100 * np.std(scores["nmi"], ddof=1) for scores in found]
                rows.append({
                    "set": marked(dataset), "variant": told, **{m.upper(): mean_sd(points[m]) for m in METRICS},
                    "k-means sd (NMI)": f"{np.mean(spread):.1f}", "seeds": len(found),
                })  # fmt: skip
    return pd.DataFrame(rows)


def marked(dataset: str) -> str:
    """A set's name as tables show it, with the mark that tells whether its labels were seen."""
    mark = next((mark for mark, (names, _) in MARKS.items() if dataset.split(" (")[0] in names), "")
    return f"{dataset} {mark}".rstrip()


def explained(shown: str) -> str:
    """The marks that occur in ``shown``, in words, as HTML."""
    return "".join(f"<p>{mark} {words}</p>" for mark, (_, words) in MARKS.items() if mark in shown)


def data_sets(records: list[dict]) -> pd.DataFrame:
    """Table 1: the sets of the protocol, and what of them the records used."""
    used: dict[str, dict] = {}
    for r in records:
        used.setdefault(r["data"]["name"], {})[f"{r['data']['split']}, {r['data']['count']:,}"] = r["data"]["note"]
    stand_in = any(r["config"]["prior"] == "class-name" for r in records)
    rows = []
    for name, info in datasets.SETS.items():
        parts = used.get(name, {})
        refused = stand_in and name in LABELS_SEEN
        rows.append({
            "set": name, "classes": info.classes, "side": info.side or "varies",
            "images": " + ".join(f"{n:,} {s}" for n, s in zip(info.counts, info.splits, strict=True)).removesuffix(" all"),
            "used here": "; ".join(parts) or "not run",
            "note": "prior saw these labels" if refused else "; ".join(dict.fromkeys(filter(None, parts.values()))),
        })  # fmt: skip
    return pd.DataFrame(rows)


def distributions(records: list[dict]) -> pd.DataFrame:
    """NMI at the first and the last of Figure 5's moments, one row a record."""
    rows = []
    for record in records:
        first, last = record["history"][0], record["history"][-1]
        rows.append({
            "set": marked(claims.set_name(record)), "method": record["label"], "epochs": last["epoch"],
            "NMI at the start": f"{100 * first['nmi']:.1f}", "NMI at the end": f"{100 * last['nmi']:.1f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def confused(records: list[dict]) -> pd.DataFrame:
    """Figure 6 in words: each record's class that is found best, and the pair of classes that is mixed most."""
    rows = []
    for record in records:
        names = class_names(record)
        table = np.array(record["exemplars"]["confusion"], dtype=float)
        table = table / table.sum(1, keepdims=True)
        together = np.minimum(table[:, None], table[None]).max(2)  # the cluster two classes share most of
        np.fill_diagonal(together, 0)
        first, second = np.unravel_index(together.argmax(), together.shape)
        own = np.diag(table[:, : len(table)])
        rows.append({
            "set": marked(claims.set_name(record)), "method": record["label"],
            "found best": f"{names[own.argmax()]} ({100 * own.max():.0f} %)",
            "mixed most": f"{names[first]} and {names[second]} (at least {100 * together.max():.0f} % of each in one cluster)",
        })  # fmt: skip
    return pd.DataFrame(rows)


def sensitivity(records: list[dict], default: str) -> pd.DataFrame:
    """Figure 7's means: one row a setting and value, with the paired difference from ``default``."""
    rows = []
    for label in dict.fromkeys(record["label"] for record in records if " = " in record["label"]):
        setting, _, value = label.partition(" = ")
        group = [record for record in records if record["label"] == label]
        row = {"setting": setting, "value": value, "NMI": mean_sd(map(claims.score, group)),
               "ACC": mean_sd(claims.score(record, "acc") for record in group)}  # fmt: skip
        found = comparisons([r for r in records if r["label"] in (label, default)], [(label, default)])
        row[f"NMI against {default}"] = found["NMI difference"].iloc[0] if len(found) else ""
        rows.append({**row, "seeds": len(group)})
    return pd.DataFrame(rows)


def best_setting(records: list[dict]) -> str:
    """Which variant of Figure 7 has the highest mean NMI on each set, in a sentence; "Not run" without records."""
    told = []
    for (dataset,), group in grouped(records, "set").items():
        means = {
            label: np.mean([claims.score(r) for r in found]) for (label,), found in grouped(group, "label").items()
        }
        best, worst = max(means, key=means.get), min(means, key=means.get)
        different = len({digest({**record["config"], "seed": 0}) for record in group})  # a setting may have many labels
        told.append(
            f"on {dataset} the means run from {means[worst]:.1f} ({worst}) to {means[best]:.1f} ({best}) NMI points; "
            f"the highest of {different} means is partly luck"
        )
    return "; ".join(told) or "Not run"


def landscapes(records: list[dict]) -> pd.DataFrame:
    """What single k-means starts reach on the same features, in ACC points."""
    rows = []
    for record in records:
        inertia, acc = (np.array(record["landscape"][name]) for name in ("inertia", "acc"))
        near = acc[inertia <= 1.01 * inertia.min()]
        rows.append({
            "set": marked(claims.set_name(record)), "features": record["label"], "starts": len(acc),
            "lowest": f"{100 * acc.min():.1f}", "highest": f"{100 * acc.max():.1f}",
            "at the lowest inertia": f"{100 * acc[inertia.argmin()]:.1f}",
            "within 1 % of it": f"{100 * near.min():.1f} to {100 * near.max():.1f} ({len(near)} starts)",
        })  # fmt: skip
    return pd.DataFrame(rows)


def costs(records: list[dict]) -> pd.DataFrame:
    """Table 6: scores beside the seconds of encoding all views and of training, means over seeds."""
    rows = []
    for (dataset, label), group in grouped(records, "set", "label").items():
        row = {"set": marked(dataset), "method": label}
        row |= {metric.upper(): mean_sd(claims.score(record, metric) for record in group) for metric in METRICS}
        for name, part in (("encoding, s", "extract_s"), ("training, s", "train_s")):
            row[name] = f"{np.mean([record['timings'][part] for record in group]):.0f}"
        rows.append({**row, "device": group[0]["provenance"]["device"], "seeds": len(group)})
    table = pd.DataFrame(rows)
    one_device = rows and table["device"].nunique() == 1  # then the provenance says which
    return table.drop(columns="device") if one_device else table


def comparisons(records: list[dict], compared: list[tuple[str, str]]) -> pd.DataFrame:
    """Paired differences in NMI points, same set and seed, with Student-t intervals; ``compared`` pairs labels."""
    rows = []
    for first, second in compared:
        matched = claims.pairs(records, lambda r, n=first: r["label"] == n, lambda r, n=second: r["label"] == n)
        for dataset, found in matched.items():
            differences = [claims.score(a) - claims.score(b) for a, b in found]
            if len(differences) > 1:
                mean, low, high = claims.paired_interval(differences)
                rows.append({"set": marked(dataset), "comparison": f"{first} − {second}", "NMI difference": signed(mean),
                             "95 % interval": f"{signed(low)} to {signed(high)}", "pairs": len(differences)})  # fmt: skip
    return pd.DataFrame(rows)


def signed(points: float) -> str:
    """A difference with its sign and one decimal, or as many more as show on which side of zero it lies."""
    digits = next((d for d in range(1, 7) if round(points, d)), None)
    return f"{points:+.{digits}f}" if digits else "0"


def against_prior(records: list[dict]) -> str:
    """pGJR beside k-means on the prior and on its mean over views, set by set, in a sentence; "not run" without them."""
    told = []
    for name, found in by_set(records).items():
        plain = [r for r in found if r["label"] == "k-means on the prior"]
        head = [r for r in found if claims.is_pgjr(r)]
        if plain and head:
            has = {"pGJR": [r["scores"]["plain"] for r in head], "k-means on the prior": [r["scores"]["plain"] for r in plain],
                   "on its mean over views": [r["scores"]["view_mean"] for r in plain if "view_mean" in r["scores"]]}  # fmt: skip
            points = lambda scores, metric: mean_sd(100 * np.mean(s[metric]) for s in scores)  # noqa: E731
            said = [f"{label} has NMI {points(scores, 'nmi')} and ACC {points(scores, 'acc')}"
                    for label, scores in has.items() if scores]  # fmt: skip
            told.append(f"on {name} {', '.join(said)}")
    return "; ".join(told) or "not run"


def bounds(interval: str) -> tuple[float, float]:
    """Low and high of an interval as :func:`comparisons` words it."""
    low, high = map(float, interval.split(" to "))
    return low, high


def told_apart(paired: pd.DataFrame) -> str:
    """Which comparisons of :func:`comparisons` have an interval without zero, in a sentence; "Not run" without rows."""
    sides: dict[str, list[str]] = {"above": [], "below": []}
    for row in paired.to_dict("records"):
        low, high = bounds(row["95 % interval"])
        if low > 0 or high < 0:
            sides["above" if low > 0 else "below"].append(f"{row['comparison']} on {row['set'].rstrip(' †‡')}")
    told = [f"{side} zero lie the intervals of {', '.join(names)}" for side, names in sides.items() if names]
    rest = len(paired) - sum(map(len, sides.values()))
    sentence = "; ".join([*told, f"{rest} of {len(paired)} intervals contain zero"])
    return sentence[0].upper() + sentence[1:] if len(paired) else "Not run"


def convergence(records: list[dict]) -> pd.DataFrame:
    """Claim 1's numbers as a table, one row a pair of runs."""
    rows = [{"set": marked(row["dataset"]), "seed": row["seed"], "NMI to reach": f"{100 * row['target']:.1f}",
             "GJR epochs": row["gjr_epoch"], "GJR seconds": f"{row['gjr_seconds']:.1f}",
             "pGJR epochs": row["pgjr_epoch"], "pGJR seconds": f"{row['pgjr_seconds']:.1f}",
             "still gaining": "yes" if row["still_gaining"] else "no"}
            for row in claims.convergence(records)]  # fmt: skip
    return pd.DataFrame(rows)


def ledger(records: dict[str, list[dict]]) -> pd.DataFrame:
    """The claims with their verdicts, from the records of each experiment."""
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
    unique = lambda values: ", ".join(map(str, sorted(set(values))))  # noqa: E731
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


def class_names(record: dict) -> list[str]:
    """The names of the classes of a record's set; their numbers where they have no names."""
    info = datasets.SETS[record["config"]["dataset"]]
    return list(info.class_names) or [str(c) for c in range(info.classes)]


def by_set(records: list[dict]) -> dict[str, list[dict]]:
    """Records by their set and split, in the order of their first appearance."""
    return {name: group for (name,), group in grouped(records, "set").items()}


def grouped(records: list[dict], *names: str) -> dict:
    """Records by a tuple of ``names``, each ``set`` (with its split) or ``label``, in the order of their first appearance."""
    groups: dict[tuple, list[dict]] = {}
    for record in records:
        key = tuple(record["label"] if name == "label" else claims.set_name(record) for name in names)
        groups.setdefault(key, []).append(record)
    return groups


def as_html(table: pd.DataFrame, name: str) -> str:
    """The table as HTML with a link to its CSV, which travels inside the page; "not run" where it is empty."""
    if table.empty:
        return "<p><em>Not run: this profile has no record for this table.</em></p>"
    whole = table.assign(set=table["set"].str.replace(" ", "\u00a0")) if "set" in table else table  # not over two lines
    body = whole.to_html(index=False, escape=True, border=0, classes="table").replace(" ± ", "\u00a0±\u00a0")
    return body + explained("".join(table.get("set", ""))) + f"<p>{csv_link(numeric(table), name)}</p>"


def csv_link(table: pd.DataFrame, name: str) -> str:
    """A link to the table as CSV, which travels inside the page."""
    data = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return f'<a download="{name}.csv" href="data:text/csv;base64,{data}">{name}.csv</a>'


def numeric(table: pd.DataFrame) -> pd.DataFrame:
    """A table as programs want it: "mean ± sd" and "low to high" in two columns each, and sets without their marks."""
    whole = {}
    for name, column in table.items():
        text = column.astype(str)
        for sign, ends in ((" ± ", ("", " sd")), (" to ", (" low", " high"))):
            if text.str.contains(sign).any() and text.str.fullmatch(rf"[-+\d.]+({sign}[-+\d.]+)?").all():
                parts = text.str.split(sign, n=1, expand=True)
                whole |= {name + end: pd.to_numeric(parts[i]) for i, end in enumerate(ends)}
                break
        else:
            whole[name] = text.str.rstrip(" †‡") if name == "set" else column
    return pd.DataFrame(whole)
