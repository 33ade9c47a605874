"""What an input is: its shape and range, how it is read, and how it is shown."""

from dax_lightning.inputs.base import Input
from dax_lightning.inputs.image import ImageInput
from dax_lightning.inputs.sound import LogMel
from dax_lightning.inputs.spectrogram import SpectrogramInput, log_mel_input
from dax_lightning.inputs.table import TableInput
from dax_lightning.inputs.text import TextInput
from dax_lightning.inputs.wave import WaveInput

__all__ = ["ImageInput", "Input", "LogMel", "SpectrogramInput", "TableInput", "TextInput", "WaveInput", "log_mel_input"]
