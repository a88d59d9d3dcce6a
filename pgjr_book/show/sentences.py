"""Numbers in, sentences out. Words go to pages as plain text, so whoever puts them into HTML escapes them."""

from dataclasses import replace

import numpy as np
import pandas as pd

from pgjr_book import scored, verdicts
from pgjr_book.provenance import RulesHistory
from pgjr_book.scored import ScoredSet, Setting, scored_set
from pgjr_book.show import numbers
from pgjr_book.show.groups import by_set
from pgjr_book.show.sets import SOURCE_SEEN, marked, set_name, title
from pgjr_book.stats import LEVEL
from pgjr_book.verdicts import Cell, Comparison, Finding
from pgjr_lib.data.sets import PAPER_SETS, SETS

METHODS = {"gjr": "GJR", "pgjr": "pGJR"}
CNN_NAMES = {"small": "small ResNet", "thin": "thin ResNet", "resnet18": "ResNet-18", "resnet34": "ResNet-34"}
PRIOR_NAMES = {  # id of experiments.yaml -> how sentences call it
    "random": "random weights", "half-trained": "the half-trained class-name prior", "class-name": "the class-name prior",
    "imagenet-labels-64": "the ImageNet-label prior at side 64", "imagenet-labels": "the ImageNet-label prior", "clip": "CLIP",
}  # fmt: skip
CONTROLS = {  # variant that claim 2 compares with the learned jigsaw -> what it is
    "frozen": "the same jigsaw frozen at its start", "permuted": "the same jigsaw on permuted positions",
    "blur": "a blur without blocks", "dense": "a dense layer",
}  # fmt: skip
FORMS = {**CONTROLS, "shifted": "the same jigsaw with its blocks shifted by half"}  # baseline of claim 5 -> what it is
COLUMNS = {  # of the ledger
    "paper": "on the paper’s setting", "clip": "with CLIP, short CNN schedule", "stand-in": "on our stand-in",
}  # fmt: skip
VERDICTS = {  # column of the ledger -> verdict -> its words; a verdict that is not named is its own word
    "paper": {"holds": "supported", "fails": "not supported"},
    "clip": {"holds": "seen here", "fails": "not seen here"},
    "stand-in": {"holds": "seen here", "fails": "not seen here"},
}
OUTCOMES = {"gain": "gain", "harm": "harm", "equivalent": "equivalent", "open": "open", None: "not finished"}
RACES = {"gain": "pGJR is faster", "harm": "pGJR is not faster", "equivalent": "both are equally fast"}  # for claim 1
AGAINST_CONTROLS = {  # outcome of the learned jigsaw minus a control
    "gain": "favour the learned jigsaw", "harm": "favour the control", "equivalent": "are equivalent", "open": "are open",
}  # fmt: skip
WINNERS = {"gain": "pGJR wins", "harm": "GJR wins"}  # for claim 4
NOTHING_TO_JUDGE = {  # claim -> what its test lacks where it was not run
    1: "no curves of GJR and pGJR on CIFAR-10",
    2: "no paired runs with and without the jigsaw on CIFAR-10 or STL-10",
    3: "needs CLIP’s weights and the splits of the literature",
    4: "no runs of GJR and pGJR on CIFAR-10 or STL-10",
    5: "no runs on the generated sets",
}
SETTINGS = (
    "temperature {tau1}, α {alpha}, learning rate {lr}, {epochs} epochs, K = {views}, least crop area {crop_scale}, "
    "mode {mode}, n = {n}, g = {g}, combined by {combine}, branch: {branch}, {map} map"
)


# ---- verdicts ----


def verdict(finding: Finding, column: str = "stand-in") -> str:
    """Word the verdict on a claim in a column of the ledger. The CNNs of the column with CLIP need no CLIP, and may be there alone."""
    word = VERDICTS[column].get(finding.verdict, finding.verdict)
    with_clip = [cell.runs for cell in finding.cells if cell.comparison.prior == "clip"]
    alone = column == "clip" and finding.verdict != "not run" and with_clip and not any(with_clip)
    return f"{word} (CNNs only, no run with CLIP yet)" if alone else word


def verdict_by_column(findings: dict[Setting, Finding]) -> str:
    """Word the verdicts on a claim in the columns that were run (:func:`pgjr_book.ledger.shown`)."""
    if len(findings) == 1:
        return "".join(verdict(finding, column) for column, finding in findings.items())
    return "; ".join(f"{COLUMNS[column]}: {verdict(finding, column)}" for column, finding in findings.items())


def evidence(number: int, findings: dict[Setting, Finding]) -> str:
    """Word the numbers behind the verdicts on a claim, column by column, as the beginning of a sentence."""
    texts = {column: "; ".join(evidence_lines(number, finding)) for column, finding in findings.items()}
    if len(texts) == 1:
        return begun("".join(texts.values()))
    return ". ".join(f"{begun(COLUMNS[column])}: {text}" for column, text in texts.items())


def begun(text: str) -> str:
    """Return ``text`` as the beginning of a sentence; pGJR keeps its small letter."""
    return text if text.startswith("pGJR") else f"{text[0].upper()}{text[1:]}"


def joined(names: list[str]) -> str:
    """Join names with commas and "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def evidence_lines(number: int, finding: Finding) -> list[str]:
    """Word the numbers behind the verdict on a claim, one line a cell."""
    if finding.verdict == "not run":
        return [NOTHING_TO_JUDGE[number]]
    return [_cell(number, cell, finding.level) for cell in finding.cells]


def compared(comparison: Comparison, where: ScoredSet | None) -> str:
    """Name what is compared and with which prior, with "¶" where the prior saw labels of what the images come from."""
    if comparison.experiment == "structure":
        return f"the jigsaw against {FORMS[comparison.baseline]}"
    if comparison.prior not in PRIOR_NAMES:
        return comparison.name
    # GJR has no prior
    method, other = ("pGJR", " against GJR") if comparison.name == "pGJR against GJR" else (comparison.name, "")
    return f"{method} with {prior_name(comparison, where)}{other}"


def prior_name(comparison: Comparison, where: ScoredSet | None) -> str:
    """Name the prior of a comparison, with "¶" where it saw labels of what the images come from."""
    seen = where and comparison.prior.startswith("imagenet-labels") and SETS[where.dataset].images_from
    return f"{PRIOR_NAMES[comparison.prior]}{f' {SOURCE_SEEN}' if seen else ''}"


def place(cell: Cell) -> str:
    """Name a cell by what it compares, its prior and its set."""
    where = marked(cell.where) if cell.where else title(cell.comparison.dataset)
    return f"{compared(cell.comparison, cell.where)} on {where}"


def state(cell: Cell) -> str:
    """Word the outcome of a cell, or say that it was not run or is not finished."""
    if not cell.runs:
        return "not run"
    return worded(cell.comparison, cell.outcome)


def worded(comparison: Comparison, outcome: verdicts.Outcome | None) -> str:
    """Word an outcome of a comparison; claims 1 and 4 have winners."""
    return {"convergence": RACES, "winner": WINNERS}.get(comparison.experiment, {}).get(outcome, OUTCOMES[outcome])


def _cell(number: int, cell: Cell, level: float) -> str:
    outcome = state(cell) if cell.outcome or not cell.runs else f"{cell.runs} of {verdicts.SEEDS} runs, not finished"
    outcome += f" ({cell.note})" if cell.note else ""
    if not cell.interval:
        return f"{place(cell)}: {outcome}"
    interval = cell.interval(level)
    if number == 1:
        mean, low, high = (numbers.fixed(np.exp(value), 2) for value in interval)
        return f"{place(cell)}: GJR takes {mean} [{low}, {high}] times pGJR’s seconds; {outcome}"
    if cell.outcome in ("gain", "harm") and interval.low <= 0 <= interval.high:
        outcome += f" by its own {with_level(cell, LEVEL)}"  # the one shown holds together with those of the claim's other cells
    return f"{place(cell)}: {numbers.signed(interval.mean)} NMI points, {with_level(cell, level)}; {outcome}{disagreeing(cell)}"


def with_level(cell: Cell, level: float) -> str:
    """Write a cell's interval with its level, "95 % [-0.4, +0.6]"."""
    _, low, high = cell.interval(level)
    return f"{100 * level:.3g} % [{numbers.signed(low)}, {numbers.signed(high)}]"


def disagreeing(cell: Cell) -> str:
    """Say where ACC or ARI have another outcome than NMI."""
    others = {metric.upper(): found for metric, found in cell.others.items() if found != cell.outcome}
    different = [f"{metric} says {worded(cell.comparison, found)}" for metric, found in others.items()]
    return f", but {' and '.join(different)}" if different else ""


def summary(finding: Finding) -> str:
    """Say for which cells a claim has which outcome; "" where nothing was run."""
    if finding.verdict == "not run":
        return ""
    sides: dict[str, list[str]] = {}
    for cell in finding.cells:
        sides.setdefault(state(cell), []).append(place(cell))
    return " ".join(f"{begun(outcome)}: {'; '.join(names)}." for outcome, names in sides.items())


# ---- tables ----


def intervals(paired: pd.DataFrame) -> str:
    """Say which comparisons of :func:`tables.comparisons` have an interval without zero; "not run" without rows."""
    if paired.empty:
        return "not run"
    above, below = paired[paired["95 % interval low"] > 0], paired[paired["95 % interval high"] < 0]
    sides = []
    for side, rows in (("above", above), ("below", below)):
        names = [f"{row['comparison']} on {set_name(row['set'])}" for row in rows.to_dict("records")]
        sides += [f"{side} zero for {', '.join(names)}"] if names else []
    rest = len(paired) - len(above) - len(below)
    rest = "the one interval contains zero" if len(paired) == rest == 1 else f"{rest} of {len(paired)} intervals contain zero"
    return f"the interval lies {'; '.join([*sides, rest])}" if sides else rest


def controls(attributed: pd.DataFrame) -> str:
    """Say, for each method and set of :func:`tables.attribution`, how the learned jigsaw compares with each control.

    What is not finished is left out; "not run" without rows.
    """
    parts, finished = [], attributed[attributed["outcome"] != OUTCOMES[None]] if len(attributed) else attributed
    for (where, method), rows in finished.groupby(["set", "method"], sort=False) if len(finished) else ():
        against = [
            f"{row['control']} ({numbers.signed(row['NMI difference'])} [{numbers.signed(row['95 % interval low'])}, "
            f"{numbers.signed(row['95 % interval high'])}], {row['outcome']})" for row in rows.to_dict("records")
        ]  # fmt: skip
        parts.append(f"for {method} on {set_name(where)}, against {', '.join(against)}")
    return "; ".join(parts) or "not run"


def controls_counted(attributed: pd.DataFrame) -> str:
    """Count the finished comparisons of the learned jigsaw with a control, by outcome; "not run" without any."""
    finished = attributed[attributed["outcome"] != OUTCOMES[None]] if len(attributed) else attributed
    if finished.empty:
        return "not run"
    counts = {words: int((finished["outcome"] == OUTCOMES[outcome]).sum()) for outcome, words in AGAINST_CONTROLS.items()}
    return f"of {len(finished)} finished comparisons {joined([f'{count} {words}' for words, count in counts.items()])}"


def choices(table: pd.DataFrame) -> str:
    """Say between which differences each choice moves NMI, the largest first (:func:`tables.choices`); "not run" without rows."""
    if table.empty:
        return "not run"
    by_choice = table.groupby("choice")["NMI difference"].agg(["min", "max"])
    most = by_choice.abs().max(axis=1).sort_values(ascending=False).index
    ranges = [(choice, *by_choice.loc[choice, ["min", "max"]]) for choice in most]
    return joined([f"{choice} ({numbers.signed(low)} to {numbers.signed(high)})" for choice, low, high in ranges])


def rank_of_pgjr(table: pd.DataFrame) -> str:
    """Say where pGJR stands among clusterings of the same features (:func:`tables.rank_of_pgjr`); "not run" without rows."""
    parts = [
        f"with {row['prior']} on {set_name(row['set'])} it is number {row['rank']} of {row['methods']} with "
        f"{numbers.fixed(row['pGJR'])}, and first comes {row['best']} with {numbers.fixed(row['NMI'])}"
        for row in table.to_dict("records")
    ]
    return "; ".join(parts) or "not run"


def best_setting(extremes: pd.DataFrame) -> str:
    """Say between which settings the means of a study lie (:func:`tables.extremes`); "not run" without rows."""
    parts = [
        f"on {set_name(row['set'])} the means run from {numbers.fixed(row['NMI low'])} ({row['worst']}) to "
        f"{numbers.fixed(row['NMI high'])} ({row['best']}) NMI points; the highest of {row['settings']} means is partly luck"
        for row in extremes.to_dict("records")
    ]
    return "; ".join(parts) or "not run"


def best_by_prior(extremes: dict[str, pd.DataFrame]) -> str:
    """Say the same for each prior (:func:`tables.extremes_by_prior`); "not run" without records."""
    parts = [f"with {PRIOR_NAMES.get(prior, prior)}, {best_setting(table)}" for prior, table in extremes.items()]
    return "; ".join(parts) or "not run"


def ends(table: pd.DataFrame) -> str:
    """Word :func:`tables.ends`: from where to where each method goes, set by set; "not run" without rows."""
    by_name: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        start, end = (numbers.mean_sd(row[name], row[f"{name} sd"]) for name in ("NMI at the start", "NMI at the end"))
        by_name.setdefault(set_name(row["set"]), []).append(f"{row['method']} goes from {start} to {end}")
    return "; ".join(f"on {name} {', '.join(ways)}" for name, ways in by_name.items()) or "not run"


# ---- settings and runs ----


def prior_scores(records: list[dict], study: list[dict]) -> str:
    """Say what k-means on the prior scores on the sets of a study; "not been run" where it was not."""
    sets = {replace(where, earlier=False) for where in by_set(study)}  # k-means on features does not depend on the head's code
    own = [record for record in records if record["variant"] == "prior" and scored_set(record) in sets]
    scores = [f"{numbers.fixed(scored.score(record))} on {set_name(scored_set(record))}" for record in own]
    return "; ".join(scores) or "not been run"


def frozen_settings(records: list[dict]) -> str:
    """Say with which settings pGJR runs on photographs; "not run" where it does not."""
    own = [r["config"] for r in records if r["variant"] == "pgjr" and r["config"]["dataset"] in PAPER_SETS]
    return SETTINGS.format(**own[0]) if own else "not run"


def head_over_prior(differences: pd.DataFrame) -> str:
    """Say, for each temperature, between which ends :func:`tables.head_over_prior` lies; "not run" without rows."""
    if differences.empty:
        return "not run"
    parts = []
    for tau1, rows in differences.groupby("τ1", sort=False):
        low, high = (rows.loc[index] for index in (rows["NMI difference"].idxmin(), rows["NMI difference"].idxmax()))
        ends = [f"{numbers.signed(row['NMI difference'])} ({row['prior']})" for row in (low, high)]
        parts.append(f"at τ1 {tau1} between {' and '.join(ends)}")
    return joined(parts)


LEVELS = {  # variant of the study of structure -> how a sentence about levels ends
    "idfd": "without a jigsaw", "gjr": "with it", "frozen": "with it frozen at its start",
    "mean": "with twice the mean of a block’s grids in its place",
}  # fmt: skip


def levels(records: list[dict]) -> str:
    """Say which mean NMI a CNN has on each generated set without a jigsaw, with it, and with its fixed forms; "not run" without."""
    parts = []
    for where, group in by_set(records).items():
        scores = {variant: [scored.score(r) for r in group if r["variant"] == variant] for variant in LEVELS}
        words = [f"{numbers.fixed(float(np.mean(found)))} {LEVELS[variant]}" for variant, found in scores.items() if found]
        parts += [f"on {title(where.dataset)} {joined(words)}"] if words else []
    return "; ".join(parts) or "not run"


def only_one_cnn(records: list[dict]) -> str:
    """Say so where only one CNN was run; "" otherwise."""
    run = {record["config"]["backbone"] for record in records}
    if len(run) != 1:
        return ""
    return f"Only the {CNN_NAMES[run.pop()]} was run, so it stays open whether the effect depends on the CNN."


def rules(history: RulesHistory, name: str) -> str:
    """Say how many records were made under the current version of the rules in file ``name``."""
    parts = [f"{history.current} of {history.records} records were made under the current version of {name}"]
    if history.unknown < history.records:
        parts.append(f"{history.other} under another version")
    if history.unknown:
        parts.append(f"{history.unknown} at commits that are unknown here or lack that file")
    return f"{', '.join(parts)}."
