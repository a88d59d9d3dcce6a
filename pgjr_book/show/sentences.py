"""Numbers in, sentences out. Words go to pages as plain text, so whoever puts them into HTML escapes them."""

import numpy as np
import pandas as pd

from pgjr_book import verdicts
from pgjr_book.provenance import RulesHistory
from pgjr_book.show import numbers
from pgjr_book.show.groups import by_set
from pgjr_book.show.sets import marked, set_name
from pgjr_book.verdicts import PAPER_SETS, Difference, Finding, Interaction, Race, RaceCell, scored_set

METHODS = {"gjr": "GJR", "pgjr": "pGJR"}
CNNS = {"small": "small ResNet", "thin": "thin ResNet", "resnet18": "ResNet-18", "resnet34": "ResNet-34"}
ON_PAPER = {"yes": "supported", "no": "not supported"}
ON_STAND_IN = {"yes": "seen here", "no": "not seen here"}
NOTHING_TO_JUDGE = {  # claim -> what its test lacks where it was not run
    1: "no pair of GJR and pGJR",
    2: "no paired runs with and without the jigsaw",
    3: "needs CLIP's weights and the splits of the literature",
    4: "needs both methods on at least two sets, has {sets}",
    5: "needs GJR and IDFD on the generated set, in order and permuted",
}
OBSTACLES = {  # of a race -> what evidence adds
    "": "",
    "still gaining": "; training still gains at its end",
    "machines": "; not on one machine",
    "seeds": f"; {verdicts.SEEDS_CNN} seeds are needed to decide",
}
SETTINGS = (
    "temperature {tau1}, α {alpha}, learning rate {lr}, {epochs} epochs, K = {views}, least crop area {crop_scale}, "
    "mode {mode}, n = {n}, g = {g}, combined by {combine}, branch: {branch}, {map} map"
)


# ---- verdicts ----


def on_paper(finding: Finding) -> str:
    """Word a verdict on the paper's setting."""
    return ON_PAPER.get(finding.verdict, finding.verdict)


def on_stand_in(finding: Finding) -> str:
    """Word a verdict on anything less than the paper's setting."""
    return ON_STAND_IN.get(finding.verdict, finding.verdict)


def evidence(number: int, finding: Finding) -> str:
    """Word the numbers behind the verdict on a claim."""
    return "; ".join(evidence_lines(number, finding))


def evidence_lines(number: int, finding: Finding) -> list[str]:
    """Word the numbers behind the verdict on a claim, one line a comparison."""
    if finding.verdict == "not run":
        return [NOTHING_TO_JUDGE[number].format(sets=len(finding.cells))]
    lines = [_EVIDENCE[number](cell) for cell in finding.cells]
    if number == 2 and {cell.variant for cell in finding.cells} != set(METHODS):
        lines.append("the other of GJR and pGJR was not run")
    return lines


def _race_evidence(cell: RaceCell) -> str:
    seconds = f"GJR takes {numbers.fixed(cell.ratio, 2)} times pGJR's seconds (median)"
    return f"{set_name(cell.where)}: {cell.pairs} pairs, {seconds}{OBSTACLES[cell.obstacle]}"


def _jigsaw_evidence(cell: Difference) -> str:
    return f"{METHODS[cell.variant]} on {set_name(cell.where)}: {_interval(cell)} NMI points, {cell.pairs} seeds"


def _winner_evidence(cell: Difference) -> str:
    return f"{set_name(cell.where)}: {METHODS[cell.variant]} {_interval(cell)}"


def _structure_evidence(cell: Interaction) -> str:
    gains = f"the jigsaw gains {cell.ordered:+.1f} in order, {cell.permuted:+.1f} permuted"
    return f"{gains}; interaction {_interval(cell)} NMI points, {cell.pairs} seeds"


def _interval(cell: Difference | Interaction) -> str:
    return f"{cell.mean:+.1f} [{cell.low:+.1f}, {cell.high:+.1f}]"


_EVIDENCE = {1: _race_evidence, 2: _jigsaw_evidence, 4: _winner_evidence, 5: _structure_evidence}


def observation(number: int, records: list[dict]) -> str:
    """Say in plain words what the records of a claim show, set by set; "" where there is nothing to say."""
    if number == 1:
        races: dict = {}
        for race in verdicts.convergence(records):
            races.setdefault(race.where, []).append(race)
        return " ".join(_race(marked(where), group) for where, group in races.items())
    if number == 2:
        cells = {contrast.variant: verdicts.differences(records, contrast) for contrast in verdicts.JIGSAW}
        sides = {METHODS[variant]: _sides(group, "gains", "loses", "does not gain") for variant, group in cells.items()}
        return " ".join(f"With the jigsaw {method} {words}." for method, words in sides.items() if words)
    if number == 4:
        ahead = verdicts.judge_winner(records).cells
        return f"pGJR {_sides(ahead, 'is ahead', 'is behind', 'is not ahead')}." if len(ahead) > 1 else ""
    if number == 5 and (finding := verdicts.judge_structure(records)).verdict != "not run":
        words = evidence(5, finding)
        return f"{words[0].upper()}{words[1:]}. The claim expects an interaction above zero."
    return ""


def _race(name: str, races: list[Race]) -> str:
    def median(part: str) -> float:
        return float(np.median([getattr(race, part) for race in races]))

    return (
        f"On {name} the target is {100 * median('target'):.0f} NMI points, nearly the lower of the two final scores. pGJR reaches "
        f"it {_after(median('pgjr_epoch'))}, at {median('pgjr_seconds'):.0f} s with the encoding of all views. GJR reaches it "
        f"{_after(median('gjr_epoch'))}, at {median('gjr_seconds'):.0f} s (medians over seeds)."
    )


def _after(epochs: float) -> str:
    return f"after {epochs:g} epochs" if epochs else "before any training"


def _sides(cells, above: str, below: str, small: str) -> str:
    """Name sets by their verdict: above zero, wholly below it, at most a margin above it, or open."""
    sides: dict[str, list[str]] = {above: [], below: [], small: [], "is open": []}
    for cell in cells:
        side = {"yes": above, "no": below if cell.high < 0 else small}.get(cell.verdict, "is open")
        sides[side].append(marked(cell.where))
    return ", ".join(f"{side} on {_listed(names)}" for side, names in sides.items() if names)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]


# ---- tables ----


def intervals(paired: pd.DataFrame) -> str:
    """Say which comparisons of :func:`tables.comparisons` have an interval without zero; "Not run" without rows."""
    if paired.empty:
        return "Not run"
    above, below = paired[paired["95 % interval low"] > 0], paired[paired["95 % interval high"] < 0]
    sides = []
    for side, rows in (("above", above), ("below", below)):
        names = [f"{row['comparison']} on {set_name(row['set'])}" for row in rows.to_dict("records")]
        sides += [f"{side} zero for {', '.join(names)}"] if names else []
    rest = len(paired) - len(above) - len(below)
    rest = f"{rest} of {len(paired)} intervals contain{'s' if rest == 1 else ''} zero"
    return f"The interval lies {'; '.join([*sides, rest])}" if sides else rest


def best_setting(extremes: pd.DataFrame) -> str:
    """Say between which settings the means of a study lie (:func:`tables.extremes`); "Not run" without rows."""
    parts = [
        f"on {set_name(row['set'])} the means run from {numbers.fixed(row['NMI low'])} ({row['worst']}) to "
        f"{numbers.fixed(row['NMI high'])} ({row['best']}) NMI points; the highest of {row['settings']} means is partly luck"
        for row in extremes.to_dict("records")
    ]
    return "; ".join(parts) or "Not run"


def against_prior(table: pd.DataFrame) -> str:
    """Word :func:`tables.against_prior`: pGJR beside k-means on its prior, set by set; "not run" without rows."""
    by_name: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        nmi, acc = (numbers.mean_sd(row[name], row[f"{name} sd"]) for name in ("NMI", "ACC"))
        by_name.setdefault(set_name(row["set"]), []).append(f"{row['features']} has NMI {nmi} and ACC {acc}")
    return "; ".join(f"on {name} {', '.join(parts)}" for name, parts in by_name.items()) or "not run"


def ends(table: pd.DataFrame) -> str:
    """Word :func:`tables.ends`: from where to where pGJR and GJR go, set by set; "not run" without rows."""
    by_name: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        start, end = (numbers.mean_sd(row[name], row[f"{name} sd"]) for name in ("NMI at the start", "NMI at the end"))
        by_name.setdefault(set_name(row["set"]), {})[row["variant"]] = f"from {start} to {end}"
    parts = [
        f"on {name} pGJR goes {ways['pgjr']}, GJR {ways['gjr']}"
        for name, ways in by_name.items()
        if set(METHODS) <= set(ways)
    ]
    return "; ".join(parts) or "not run"


# ---- settings and runs ----


def prior_scores(records: list[dict], study: list[dict]) -> str:
    """Say what k-means on the prior scores on the sets of a study; "not been run" where it was not."""
    sets = by_set(study)
    own = [record for record in records if record["variant"] == "prior" and scored_set(record) in sets]
    scores = [f"{numbers.fixed(scored.score(record))} on {set_name(scored_set(record))}" for record in own]
    return "; ".join(scores) or "not been run"


def frozen_settings(records: list[dict]) -> str:
    """Say with which settings pGJR runs on photographs; "Not run" where it does not."""
    own = [r["config"] for r in records if r["variant"] == "pgjr" and r["config"]["dataset"] in PAPER_SETS]
    return SETTINGS.format(**own[0]) if own else "Not run"


def only_one_cnn(records: list[dict]) -> str:
    """Say so where only one CNN was run; "" otherwise."""
    run = {record["config"]["backbone"] for record in records}
    if len(run) != 1:
        return ""
    return f"Only the {CNNS[run.pop()]} was run, so it stays open whether the effect depends on the CNN."


def rules(history: RulesHistory, name: str) -> str:
    """Say how many records were made under the current version of the rules in file ``name``."""
    parts = [f"{history.current} of {history.records} records were made under the current version of {name}"]
    if history.unknown < history.records:
        parts.append(f"{history.other} under another version")
    if history.unknown:
        parts.append(f"{history.unknown} at commits that are unknown here or lack that file")
    return f"{', '.join(parts)}."
