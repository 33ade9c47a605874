"""How much folded batch norms, small batches and OpenVINO gain on a CPU.

Each round times all variants in turn, so that other load on the machine affects all alike. Ratios are medians over rounds.
Run: python -m benchmarks.black_box [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from dax_lightning.black_box import lite0
from dax_lightning.black_box.torch.engine import Engine
from dax_lightning.black_box.torch.named import lite0_module

ROWS = 64


def main(rounds: int = 5) -> None:
    box = lite0(device="cpu", batch_size=ROWS)
    engines: tuple[Engine, ...] = ("openvino", "openvino_bf16")
    fast = {engine: lite0(device="cpu", engine=engine, batch_size=ROWS) for engine in engines}
    plain = lite0_module().eval().to(memory_format=torch.channels_last)
    rows = torch.rand(ROWS, 3, 224, 224).to(memory_format=torch.channels_last)
    variants: dict[str, Callable[[], object]] = {
        "as timm makes it, 64 rows a call": lambda: plain(rows),
        "8 rows a call": lambda: [plain(few) for few in rows.split(8)],
        "folded, 64 rows a call": lambda: box.module(rows),
        "folded, 8 rows a call (what the black box does)": lambda: box(rows),
        "engine=openvino": lambda: fast["openvino"](rows),
        "engine=openvino_bf16": lambda: fast["openvino_bf16"](rows),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode():
        for _ in range(rounds + 1):  # the first warms up
            for name, run in variants.items():
                start = time.perf_counter()
                run()
                taken[name].append(time.perf_counter() - start)
    first = next(iter(taken.values()))[1:]
    print(f"EfficientNet-Lite0, {torch.get_num_threads()} threads, {rounds} rounds\n")
    print("| variant | time, relative | ms a row |\n| --- | --- | --- |")
    for name, seconds in taken.items():
        ratio = statistics.median(s / f for s, f in zip(seconds[1:], first, strict=True))
        print(f"| {name} | {ratio:.2f} | {1000 * statistics.median(seconds[1:]) / ROWS:.1f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
