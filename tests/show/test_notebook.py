"""The notebooks' one import offers what it lists, and loads nothing before it is asked for."""

import subprocess
import sys

import pytest

from pgjr_book import notebook


def test_every_name_it_offers_is_there():
    for name in notebook.__all__:
        assert getattr(notebook, name) is not None, name
    assert dir(notebook) == notebook.__all__ and (notebook.home / "experiments.yaml").is_file()
    with pytest.raises(AttributeError, match="no name 'tabels'"):
        _ = notebook.tabels


def test_tables_of_numbers_load_neither_torch_nor_matplotlib():
    code = (
        "import sys; from pgjr_book.notebook import records_for, render, sentences, tables, verdicts, literature;"
        "loaded = {'torch', 'matplotlib'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=notebook.home)
    assert done.returncode == 0, done.stderr
