"""``python -m dax_lightning``: the command ``dax``."""

from dax_lightning.run.main import command

if __name__ == "__main__":
    command()
