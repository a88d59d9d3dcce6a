"""What the notebooks of the book share, in one import: ``from pgjr_book.notebook import HTML, glue, records_for, tables``.

Every name is loaded when it is asked for, so that a notebook imports neither torch nor matplotlib unless it uses them.
"""

from importlib import import_module

NAMES = {  # name -> the module that has it, and its name there; without one it is the module itself
    "HTML": ("IPython.display", "HTML"),
    "Path": ("pathlib", "Path"),
    "by_set": ("pgjr_book.show.groups", "by_set"),
    "by_variant": ("pgjr_book.show.groups", "by_variant"),
    "cards": ("pgjr_book.show.cards", "cards"),
    "data": ("pgjr_lib.data", None),
    "faults": ("pgjr_book.show.reliability", None),
    "feature_map": ("pgjr_book.show.feature_map", "feature_map"),
    "figures": ("pgjr_book.show.figures", None),
    "glue": ("myst_nb", "glue"),
    "hour": ("pgjr_book.hour", None),
    "judged": ("pgjr_book.ledger", "judged"),
    "lessons": ("pgjr_book.show.lessons", None),
    "literature": ("pgjr_book.show.literature", None),
    "load_manifest": ("pgjr_book.manifest", "load_manifest"),
    "plan_of": ("pgjr_book.pages", "plan_of"),
    "provenance": ("pgjr_book.show.provenance_box", "provenance_box"),
    "read_json": ("pgjr_lib.storage", "read_json"),
    "records_for": ("pgjr_book.make", "records_for"),
    "render": ("pgjr_book.show.render", None),
    "reproductions": ("pgjr_book.make", "reproductions"),
    "rules_text": ("pgjr_book.show.provenance_box", "rules_text"),
    "sentences": ("pgjr_book.show.sentences", None),
    "sets": ("pgjr_book.show.sets", None),
    "show_pages": ("pgjr_book.pages", "show_pages"),
    "speed": ("pgjr_book.show.speed", None),
    "spectra": ("pgjr_book.show.spectra", None),
    "tables": ("pgjr_book.show.tables", None),
    "verdicts": ("pgjr_book.verdicts", None),
}
__all__ = sorted([*NAMES, "home"])


def __getattr__(name: str):
    if name == "home":  # the repository's root
        return import_module("pgjr_book.manifest").home()
    if name not in NAMES:
        raise AttributeError(f"pgjr_book.notebook has no name {name!r}: it offers {', '.join(__all__)}.")
    module, attribute = NAMES[name]
    return getattr(import_module(module), attribute) if attribute else import_module(module)


def __dir__() -> list[str]:
    return __all__
