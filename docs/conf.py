"""Builds the pages: ``make docs``. No network, and every warning is an error."""

import importlib
import re
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
for old in (ROOT / "docs" / "api").glob("*.rst"):  # made by the last build, perhaps of a room that is gone
    old.unlink()

project = "dax_lightning"
release = importlib.import_module("dax_lightning").__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.apidoc"]
exclude_patterns = ["_build", "api/modules.rst"]
nitpicky = False

html_theme = "furo"
html_title = "dax_lightning"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3

apidoc_modules = [
    {
        "path": "../dax_lightning",
        "destination": "api",
        "max_depth": 1,
        "separate_modules": False,
        "module_first": True,
        "automodule_options": {"members"},
    }
]
napoleon_use_ivar = True
autodoc_default_options = {"ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
EXTRAS = ("captum", "onnxruntime", "openvino", "segment_anything", "shap", "shapiq", "sklearn", "wandb", "tensorboard")
autodoc_mock_imports = [name for name in EXTRAS if find_spec(name) is None]


def from_elsewhere(_app, _what, _name, obj, _skip, _options):
    """Leave out what a module only imports."""
    return True if not (getattr(obj, "__module__", None) or "dax_lightning").startswith("dax_lightning") else None


def shapes_are_text(_app, _what, _name, _obj, _options, lines):
    """The star of a shape such as (n, *space) begins no emphasis."""
    for number, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [re.sub(r"(?<=[ (])\*(?=(?:space|levels|cells)\b)", r"\\*", part) for part in parts[::2]]
        lines[number] = "``".join(parts)


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", shapes_are_text)
    app.connect("autodoc-skip-member", from_elsewhere)
