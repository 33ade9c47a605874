"""The scripts are thin: what they call is tested beside it, here only that they call it and say what went wrong."""

import pytest

from scripts.fetch_sam import main


@pytest.mark.parametrize(("arguments", "told"), [(["vit_b"], "http://127.0.0.1:9/sam.pth"), (["vit_x"], "vit_x")])
def test_fetch_sam_says_what_is_missing(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(arguments, url="http://127.0.0.1:9/sam.pth") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
