"""Where a number comes from."""

import ast
import subprocess
from pathlib import Path

from pgjr_book import provenance

ROOT = Path(__file__).parents[2]


def test_a_ledger_tells_which_rules_a_record_was_made_under(tmp_path):
    def git(*arguments):
        done = subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments],
                              cwd=tmp_path, check=True, capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    rules, commits = tmp_path / "rules.py", []
    git("init", "-q")
    for text in ("one\n", "two\n"):
        rules.write_text(text)
        git("add", "rules.py")
        git("commit", "-qm", text)
        commits.append(git("rev-parse", "HEAD"))
    history = provenance.rules_history(rules, [*commits, commits[1], None, "f" * 40, "--output=x"])
    assert history == provenance.RulesHistory(records=6, current=2, other=1, unknown=3)
    assert provenance.rules_history(rules, [commits[1]]) == provenance.RulesHistory(1, 1, 0, 0)


def test_a_checkout_is_dirty_where_a_file_that_can_change_a_number_differs(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    for name in ("pgjr_lib/losses.py", "pgjr_lib/photos/page.py", "pgjr_book/train.py", "pgjr_book/show/figures.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "start")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name, dirty in (("pgjr_book/show/figures.py", False), ("pgjr_lib/photos/page.py", False),
                        ("pgjr_lib/losses.py", True), ("pgjr_book/train.py", True)):  # fmt: skip
        (tmp_path / name).write_text("2\n")
        assert provenance.checkout()["dirty"] is dirty, name
        git("commit", "-qam", name)


def test_every_module_that_training_uses_can_change_a_number():
    """Those of pgjr_lib are all among them, apart from the command line and the photos."""
    queue, modules = ["pgjr_book/train.py"], set()
    while queue:
        name = queue.pop()
        modules.add(name)
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("pgjr_book"):
                files = [f"{node.module}.{alias.name}".replace(".", "/") + ".py" for alias in node.names]
                files.append(node.module.replace(".", "/") + ".py")
                queue += [file for file in files if (ROOT / file).is_file() and file not in modules]
    assert "pgjr_book/memory.py" in modules and modules <= set(provenance.NUMBERS)
    assert all((ROOT / name.removeprefix(":!")).exists() for name in provenance.NUMBERS)


def test_a_record_names_the_processor_with_its_vector_instructions():
    name = provenance.provenance("cpu", "")["host_cpu"]
    assert name.removeprefix(provenance.cpu_name()) in {", DEFAULT", ", AVX2", ", AVX512", ", NEON", ", SVE256", ", VSX", ", Z VECTOR"}
