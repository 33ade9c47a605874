"""Black boxes by dotted path: what users hand to ``black_box=callable``, good and bad."""

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from dax_lightning.tasks import Shapes


def quarters(rows):
    """Class 0 speaks for light in the top left quarter, 1 for the bottom right one, 2 for neither."""
    half = rows.shape[-1] // 2
    first, second = rows[..., :half, :half].mean((1, 2, 3)), rows[..., half:, half:].mean((1, 2, 3))
    return torch.softmax(torch.stack([8 * first, 8 * second, torch.full_like(first, 4)], 1), 1)


def closes_stderr(rows):
    """As a handler of absl does, which openvino imports: it closes what was stderr then when logging is set up again."""
    sys.stderr.close()
    return quarters(rows)


def reds_of_numpy(rows):
    """Share of red, and the rest; the rows must be channels-first arrays."""
    if not isinstance(rows, np.ndarray) or rows.shape[1] != 3:
        raise TypeError(f"wanted (n, 3, H, W), got {type(rows).__name__} {rows.shape}")
    red = rows[:, 0].mean((1, 2))
    return np.stack([red, 1 - red], 1)


def reds_of_channels_last(rows):
    """Share of red, and the rest; the rows must be contiguous channels-last arrays."""
    if not isinstance(rows, np.ndarray) or rows.shape[-1] != 3 or not rows.flags["C_CONTIGUOUS"]:
        raise TypeError(f"wanted (n, H, W, 3), got {type(rows).__name__} {rows.shape}")
    red = rows[..., 0].mean((1, 2))
    return np.stack([red, 1 - red], 1)


def logits(rows):
    return 20 * quarters(rows) - 5


def nans(rows):
    return quarters(rows) * float("nan")


def nans_in_the_dark(rows):
    """NaN for pictures that are black all over."""
    return torch.where((rows.amax((1, 2, 3)) == 0)[:, None], torch.nan, quarters(rows))


def one_row_too_few(rows):
    return quarters(rows)[1:]


def nothing(_):
    return None


def varying(rows):
    """As many classes as rows."""
    return torch.full((len(rows), 1 + len(rows)), 1 / (1 + len(rows)))


def boom(_):
    raise RuntimeError("out of\nluck")


def ends_in_the_dark(rows):
    """Ends the program at pictures that are black all over."""
    if (rows.amax((1, 2, 3)) == 0).any():
        raise SystemExit(3)
    return quarters(rows)


def noise(rows):
    """An answer that depends on every bit of a row, and so cannot be learned."""
    digests = [hashlib.sha256(row.numpy().tobytes()).digest() for row in rows]
    chance = torch.tensor([int.from_bytes(digest[:4], "big") / 2**32 for digest in digests])
    return torch.stack([chance, 1 - chance], 1)


def counted(rows):
    """As ``quarters``; appends the number of rows to the file named in DAX_TEST_COUNT."""
    with open(os.environ["DAX_TEST_COUNT"], "a") as file:
        file.write(f"{len(rows)}\n")
    return quarters(rows)


number = 3


def interrupts_in_the_dark(rows):
    """As ``quarters``; Ctrl-C where a picture is dark all over."""
    if rows.max() < 0.1:
        signal.raise_signal(signal.SIGINT)
    return quarters(rows)


def loud(rows):
    """How loud waves of (n, 1, time) are, 0 to 1."""
    return (8 * rows.square().mean((1, 2))).clamp(0, 1)[:, None]


class Loud(torch.nn.Module):
    """How loud spectrograms of (n, 1, mel, time) are, -80 to 10 dB as 0 to 1."""

    def forward(self, rows):
        """One column."""
        return ((rows + 80) / 90).mean((1, 2, 3))[:, None]


loud_module = Loud


def slow_quarters(rows):
    """As a remote model is: there is time to end the program between two pictures."""
    time.sleep(0.3)
    return quarters(rows)


def dies_once(rows):
    """:func:`quarters`, but its fourth call kills the process, unless the file named in DIES_ONCE is there; it makes it."""
    marker = Path(os.environ["DIES_ONCE"])
    CALLS.append(len(rows))
    if len(CALLS) == 4 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return quarters(rows)


CALLS: list[int] = []


class Defective(Shapes):
    """A task that a defect ends before its first case."""

    def keys(self):
        raise ZeroDivisionError("a defect of ours")


BUILT: list[int] = []


def counted_module():
    """A module; how often one was built is in BUILT."""
    BUILT.append(1)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
