"""What ``dax --help`` prints; nothing heavy is imported for it."""

from pathlib import Path

_TEXT = """\
dax explains one prediction of a model that can only be queried.

Examples:
  dax input=photo.jpg                               one photograph, EfficientNet-Lite0 over ImageNet
  dax input=photos/ target="tabby, tabby cat" limit=10
  dax input=photo.jpg black_box=timm black_box.model=resnet50 black_box.weights=resnet50.safetensors
  dax input=photo.jpg black_box=callable black_box.function=my_module.my_function black_box.size=[224,224]
  dax input=photo.jpg comparison=gradient_free      several methods beside each other
  dax input=photo.jpg q=4000 dry_run=true           what it would cost
  dax -m input=photo.jpg q=500,1000 seed=0,1        a job for each combination

Main options:
  input=FILE|FOLDER|GLOB  what to explain; the same as task=files task.input=...
  target=ID|NAME          class to explain; without it the top class
  limit=N  only=all|correct|wrong                   which cases of a task
  explainer=... loss=v1|v2|v3                       the method; a loss of the paper's chooses the paper's DAX
  black_box=... segmenter=... task=... logger=csv|wandb|tensorboard
  q=N                     perturbed copies, one query each
  budget=N                most queries of one explanation, the one that finds the target included
  max_queries=N           most queries of one call of the command, metrics included
  dry_run=true            print queries and seconds, explain nothing
  seed=N  device=auto|cpu|cuda
  hydra.run.dir=DIR       where the output goes; the same folder again goes on where a run stopped
  -m                      each value between commas is a job; hydra.sweep.dir=DIR is their folder

Paths and names are read as they are written. With -m a comma separates values; quote a name that holds one: target='"a, b"'.

Exit codes:
  0  all cases explained
  1  some case failed, or max_queries was spent
  2  the input was wrong, or no case could be explained and the input was the reason each time: one line says what came,
     what was wanted, what to do
  3  all cases explained, but some map is unfaithful: its student did not learn the model
  130  stopped by Ctrl-C

Groups and their choices:
"""


def conf_folder() -> Path:
    """Where the YAML files are: in the installed package, or beside it in the repository."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def help_text() -> str:
    """The help page.

    Example:
        >>> "grid, onsets, quickshift" in help_text()
        True
    """
    groups = sorted(folder for folder in conf_folder().iterdir() if folder.is_dir())
    width = max(len(folder.name) for folder in groups)
    lines = [f"  {group.name:{width}}  {', '.join(sorted(file.stem for file in group.glob('*.yaml')))}" for group in groups]
    return _TEXT + "\n".join(lines)
