"""What an explanation of a recording costs: time beside the model's own rows, and the memory for an hour beside a minute.

Run: python -m benchmarks.sound CLIP MODEL [rounds], with MODEL a file that `make sound` wrote
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.common import ROOT, bare_seconds, make_explainer
from dax_lightning.black_box.torch.sound import sound_model
from dax_lightning.stats.tables import read_rows
from dax_lightning.tasks import Files

MINUTE, RATE = 60, 44100  # seconds, samples a second


def main(clip: str, model: str, rounds: int = 3) -> None:
    box = sound_model(model, device="cpu")
    case = Files(box, clip)[0]
    print(f"{Path(clip).name}, {case.x.shape[-1]} frames of {case.x.shape[-2]} bands, q=1000\n")
    print("| round | bare rows, s | explanation, s | ratio |\n| --- | --- | --- | --- |")
    ratios = []
    for number in range(rounds):
        bare = bare_seconds(box, case, 1000)
        taken = make_explainer(box, "q=1000").explain(case.x, case.target).seconds
        ratios.append(taken / bare)
        print(f"| {number + 1} | {bare:.1f} | {taken:.1f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nmedian ratio: {statistics.median(ratios):.2f}\n")
    print("| recording | peak memory, MB |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        peaks = {name: peak(model, recorded(Path(folder), minutes)) for name, minutes in (("a minute", 1), ("an hour", 60))}
    for name, megabytes in peaks.items():
        print(f"| {name} | {megabytes:.0f} |")
    print(f"\nan hour over a minute: {peaks['an hour'] / peaks['a minute']:.2f}")


def recorded(folder: Path, minutes: int) -> Path:
    """A recording of so many minutes of noise with a tone in it, written a minute at a time."""
    file, noise = folder / f"{minutes}.flac", np.random.default_rng(0)
    with soundfile.SoundFile(file, "w", RATE, 1) as out:
        for _ in range(minutes):
            out.write(0.05 * noise.standard_normal(MINUTE * RATE) + 0.3 * np.sin(np.arange(MINUTE * RATE) * 0.06))
    return file


def peak(model: str, recording: Path) -> float:
    """Most memory of a process that explains the recording from the command line, in MB."""
    options = [f"input={recording}", "black_box=sound", f"black_box.weights={Path(model).resolve()}", "q=100", "device=cpu"]
    folder = recording.parent / recording.stem
    command = [sys.executable, str(ROOT / "train.py"), *options, f"hydra.run.dir={folder}"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return float(read_rows(folder)["peak_mb"].iloc[0])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
