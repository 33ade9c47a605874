"""Explain predictions: ``python train.py input=photo.jpg``, the same as the command ``dax``; ``--help`` tells more."""

from dax_lightning.run.main import command

if __name__ == "__main__":
    command()
