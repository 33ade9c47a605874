"""Write ``docs/results.md`` and the README's table from the rows in ``docs/results``.

Run: python -m benchmarks.results
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from benchmarks import carriers
from benchmarks.common import ROOT
from benchmarks.differences import against, leads
from benchmarks.table import COLUMNS, complete, every_row, interval, markdown, once, read, tables
from dax_lightning.report.page import number, signed
from dax_lightning.stats.tables import by_case, records, summarise

PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
BEGIN, END = "<!-- begin: python -m benchmarks.results -->", "<!-- end -->"
BOXES = {"lite0": "EfficientNet-Lite0", "vit_tiny": "ViT-Tiny"}
SHORT = {"lite0": "CNN", "vit_tiny": "ViT"}
SIX = {
    "dax": "**DAX-Mosaic**",
    "rise": "RISE",
    "lime": "LIME",
    "shap": "KernelSHAP",
    "shap_partition": "SHAP Partition",
    "gradcam_pp": "GradCAM++ (sees gradients)",
}
BEFORE = " (the version before)"
SECTIONS = (  # title, what was asked, folders of each black box, metrics
    (
        "Pascal VOC, report half",
        "The photographs of `benchmarks/voc_report.txt` that the model gets right: 54 for each model. Settings were chosen on "
        "other photographs; [what was expected of this version](findings/parts_weight.md) was written down before. Fourteen "
        "earlier versions [were looked at there](findings/report_half.md). Losses sent us back to the development half.",
        ("voc", "mosaic"),
        ("iou_region", "iou", "iou_best", "pointing", "relevance_rank"),
    ),
    (
        "Deletion and insertion, report half",
        "The same 54 photographs. Less deletion is better, more insertion is better.",
        ("mosaic", "faithfulness"),
        ("deletion", "insertion"),
    ),
    (
        "VOC photographs in neither half" + BEFORE,
        "Only one of the two models is right, or much of the object is void: 31 and 33 photographs. Their objects are larger: "
        "53 % of the view on average, against 45 and 43 % in the report half. A cut map named at most 45 %. "
        "Five versions were looked at here.",
        ("others",),
        ("iou", "iou_best", "pointing", "deletion", "insertion"),
    ),
    (
        "COCO128" + BEFORE,
        "All photographs whose top class means something in view that covers 1 % of it or more: 43 and 50. Objects are small: a "
        "third of the view in the median. Nothing was tuned on them. The CNN was asked for three versions, the ViT once.",
        ("coco",),
        ("iou", "iou_best", "pointing", "deletion", "insertion"),
    ),
    (
        "Asked once: classes that are not the answer" + BEFORE,
        "VOC photographs that the model takes for something else, 42 and 35. The object's own class is explained, at a "
        "probability of about .02 or more. [Predictions were written down first](findings/asked_once.md).",
        ("asked_once",),
        ("iou", "iou_best", "pointing", "deletion", "insertion"),
    ),
)
DRAWINGS = (
    ("Drawn objects", "120 drawings of 64 x 64 pixels, `task.seed=0`. Their truth is exact.", "shapes"),
    (
        "Drawn objects, asked once" + BEFORE,
        "120 new drawings, `task.seed=2`. No version had been asked about them.",
        "asked_once_shapes",
    ),
)
CARRIERS = ("cough", "inhale", "compress")
FILLS = {
    "silence": "Removed segments are silence",
    "mean": "Removed segments have the mean spectrum: explainers.dax.perturber.fill=image_mean",
}
SOUNDS = (
    (
        "Sounds: ESC-10 in noise, the paper's Table VII",
        "The first 40 clips of fold 5 that `esc10_resnet` gets right, with noise before and after each. The truth is the clip's "
        "own time; *audible* is the part of it within 40 dB of its loudest. Maps are summed over frequency; the region is one of "
        "time and frequency. Every method fills with the mean spectrum. [What was chosen on fold 4, and what was expected of "
        "the first version](findings/sound_lengths.md).\n\n"
        "`python train.py experiment=table7 data=DIR q=1000 limit=40 black_box.engine=openvino` makes these rows.",
        "esc10",
        (
            ("iou_region", "iou_time", "iou_time_best"),
            ("iou_audible", "iou_time_mean", "pointing_time", "deletion_time", "insertion_time"),
        ),
    ),
    (
        "Two sounds at once",
        "30 pairs of clips of fold 5 that overlap in part, each asked about either class: 60 cases, also where the model "
        "hardly hears it: {faint}. *Map on own power*: share of the map on the asked clip's own power, band by band. *Own power "
        "in the top tenth*: that share in the most salient tenth of all places. A flat map has about one half.\n\n"
        "`python train.py experiment=mixture data=DIR q=1000 limit=60 black_box.engine=openvino` makes these rows.",
        "mixture",
        (("own_power_mass", "own_power_share", "iou_time", "iou_time_best"),),
    ),
)
HEAD = """# Results

This page is generated from `docs/results/*/rows.csv`: `python -m benchmarks.results` writes it, and a test compares.

- Machine: 2 cores, no GPU. Models: EfficientNet-Lite0 (a CNN) and ViT-Tiny, both trained on ImageNet.
- Every method has its own defaults, q = 1000 queries, seed 0. Methods on segments use quick shift.
- A cell is a mean with its 95 % bootstrap interval over cases. `dax minus it` is paired: both methods on the same cases.
- `dax` is DAX-Mosaic. `dax_v1` and `dax_v2` are the paper's.
- `rise_mosaic`, `lime_mosaic` and `ridge_mosaic` learn from DAX-Mosaic's own copies.
- `_all`: replaces only DAX-Mosaic's student. Profile, averages, region and the last tenth of the queries stay.
- *IoU of the region*: `dax` and the `_mosaic` methods name a region; of the others it is the map over its mean + 1 std, the
  paper's threshold.
- **Two versions.** Sections with *the version before* in their title were measured with DAX-Mosaic as it was until November
  2026: masks and students trained by gradient, and a map that was cut. There `_all` lacked the last tenth.
- `_log_odds`: on DAX's scale of answers.
- `gradient`, `smoothgrad`, `integrated_gradients`, `input_x_gradient` and the `gradcam` family look inside the model.
- [The glossary](glossary.md) says what each metric means. [The findings](findings/index.md) say why the method is as it is.

On the ViT, `dax` and the `_mosaic` methods ran in single precision. The first 40 photographs of the others ran in bfloat16,
which takes one of them for another class: the 41st is in its place. In deletion and insertion the others' first 12 did.

These commands make such rows. `FILE` has one case key a line; `data` holds `voc/`, `coco128-seg/` and `vit_tiny/`.

```sh
python train.py experiment=table2 data=DIR q=1000 limit=54 black_box=lite0 black_box.engine=openvino
python train.py experiment=table2 data=DIR q=1000 limit=54 black_box=vit_tiny black_box.engine=openvino_bf16
python train.py experiment=table2 comparison=mosaic data=DIR hydra.mode=RUN black_box=lite0 \\
  black_box.engine=openvino q=1000 limit=54 '~metrics.iou_wrong_label' +metric@metrics.iou_region=iou_region \\
  +metric@metrics.deletion=deletion +metric@metrics.insertion=insertion
python train.py experiment=table3 data=DIR hydra.mode=RUN black_box=lite0 black_box.engine=openvino q=1000 limit=54
python train.py experiment=table2 comparison=mosaic only=correct data=DIR hydra.mode=RUN black_box=lite0 q=1000 ids=FILE
python train.py experiment=table2 task=coco task.in_view.min_classes=1 only=correct ids=null limit=999 data=DIR \\
  hydra.mode=RUN q=1000 +metric@metrics.deletion=deletion +metric@metrics.insertion=insertion
python train.py experiment=table2 only=all ids=FILE data=DIR hydra.mode=RUN black_box=lite0 q=1000 limit=99 \\
  '~metrics.iou_wrong_label' +metric@metrics.deletion=deletion +metric@metrics.insertion=insertion
python train.py task=shapes task.n=120 q=1000 comparison=gradient_free +metric@metrics.iou_best=iou_best \\
  +metric@metrics.relevance_rank=relevance_rank
python train.py experiment=budget data=DIR black_box=lite0 black_box.engine=openvino q=150,400,1000 limit=3
python -m benchmarks.table docs/results/voc_lite0 docs/results/mosaic_lite0
python -m benchmarks.differences dax iou_region iou_best docs/results/voc_lite0 docs/results/mosaic_lite0
python -m benchmarks.forest lite0.png dax iou_region iou_best deletion insertion docs/results/mosaic_lite0 \\
  docs/results/voc_lite0 docs/results/faithfulness_lite0
```
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(PAGE, README, sep="\n")


def page() -> str:
    """The page's text."""
    lines = [HEAD, "## Pascal VOC, all methods\n"]
    lines += ["40 photographs of the report half, the first that the model gets right and all methods were asked about.\n"]
    for title, text in tables(read(_folders("voc", "mosaic"))):
        lines += [f"**{title}**\n", *text, ""]
    lines += ["![EfficientNet-Lite0: DAX-Mosaic minus each method](differences_lite0.png)\n"]
    lines += ["![ViT-Tiny: DAX-Mosaic minus each method](differences_vit_tiny.png)\n"]
    for title, what, kinds, metrics in SECTIONS:
        lines += [f"## {title}\n", f"{what}\n"]
        for box, name in BOXES.items():
            lines += [f"**{name}**\n", *lead_table([f"docs/results/{kind}_{box}" for kind in kinds], metrics), ""]
    for title, what, folder in DRAWINGS:
        metrics = ("iou_region", "iou", "iou_best", "pointing", "relevance_rank")
        lines += [f"## {title}\n", f"{what}\n", *lead_table([f"docs/results/{folder}"], metrics), ""]
    return "\n".join([*lines, *_budget(), *_rest(), *_sounds(), *_coughs()]) + "\n"


def lead_table(folders: Sequence[str], metrics: Sequence[str], method: str = "dax") -> list[str]:
    """A line a method: its mean, and what ``method`` has over it, paired; best first by the first metric."""
    rows = every_row([str(ROOT / folder) for folder in folders])
    metrics = [metric for metric in metrics if metric in rows]
    cells: dict[str, list[str]] = {}
    for place, metric in enumerate(metrics):
        measured = once(rows.dropna(subset=[metric]))
        own = by_case(measured, metric)[method]
        cells.setdefault(method, ["–"] * 3 * len(metrics))[3 * place : 3 * place + 3] = [
            number(own.mean()),
            "–",
            str(own.count()),
        ]
        for rival, (theirs, _, difference, n) in against(measured, metric, method).items():
            cells.setdefault(rival, ["–"] * 3 * len(metrics))[3 * place : 3 * place + 3] = [theirs, difference, n]
    head = [text for metric in metrics for text in (COLUMNS[metric], f"{method} minus it", "n")]
    rivals = sorted((name for name in cells if name != method), key=lambda name: cells[name][0], reverse=True)
    return markdown(["method", *head], [[name, *cells[name]] for name in (method, *rivals)])


def with_table(text: str) -> str:
    """The README with its table and its line of losses made anew."""
    if BEGIN not in text or END not in text:
        raise SystemExit(f"error: wanted a README with the lines {BEGIN} and {END}, between which its table stands")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{short_table()}\n{END}{after}"


def short_table() -> str:
    """Six methods on two models, and where DAX-Mosaic loses."""
    metrics = {"iou_region": "IoU of the region", "iou_best": "IoU at its best threshold"}
    columns, counts = {}, []
    for box in BOXES:
        rows = read(_folders_of(box, "mosaic", "voc"))
        asked = complete(rows.loc[rows["explainer"].isin(list(SIX))].reset_index(drop=True))
        groups = summarise(asked, ["explainer"], list(metrics))
        found = {line["explainer"]: line for line in records(groups)}
        counts.append(found["dax"]["cases"])
        for metric in metrics:
            values = {name: [found[name][f"{metric}{end}"] for end in ("", "_low", "_high")] for name in SIX}
            columns[box, metric] = {name: interval(lambda v: f"{v:.2f}", *value) for name, value in values.items()}
    head = ["method", *(f"{metrics[metric]}, {SHORT[box]}" for box, metric in columns)]
    body = [[shown, *(column[name] for column in columns.values())] for name, shown in SIX.items()]
    return "\n".join(
        [
            *markdown(head, body),
            "",
            f"{_counted(counts)}, 1000 queries (GradCAM++: 1), 95 % intervals.",
            "CNN: EfficientNet-Lite0, ViT: ViT-Tiny. *IoU of the region* compares the object with the region that DAX-Mosaic",
            "names; of the others, which name none, with the map above its mean + 1 standard deviation. The last columns take",
            "the threshold that suits each map best. Both measure where the object is, not what the model used: in deletion and",
            "insertion, [which ask the model](docs/results.md), the methods lie closer.",
            "",
            *_lost(),
        ]
    )


def _lost() -> Iterator[str]:
    """Every clear loss of DAX-Mosaic on the report half."""
    yield "**Where it loses** on the same photographs (DAX-Mosaic minus the other, intervals clear of 0):"
    found = []
    for box, short in SHORT.items():
        for metric, sign in (("iou_region", 1), ("iou_best", 1), ("deletion", -1), ("insertion", 1)):
            rows = once(every_row(_folders_of(box, "mosaic", "voc", "faithfulness")).dropna(subset=[metric]))
            for line in records(leads(rows, metric, "dax")):
                low, high = sorted((sign * line["low"], sign * line["high"]))
                if low < high < 0:
                    told = interval(signed, line["difference"], line["low"], line["high"])
                    found.append(f"{COLUMNS[metric]} ({short}): `{line['explainer']}` {told}")
    yield "; ".join(found) + "." if found else "nowhere."


def _counted(counts: Sequence[int]) -> str:
    if len(set(counts)) == 1:
        return f"{counts[0]} photographs of Pascal VOC a model"
    told = " and ".join(f"{count} ({short})" for count, short in zip(counts, SHORT.values(), strict=True))
    return f"{told} photographs of Pascal VOC"


def _budget() -> Iterator[str]:
    yield f"## Quality against queries{BEFORE}\n"
    yield "Three photographs show the shape of a curve, no more: the intervals are wide. IoU at mean + 1 std.\n"
    for box, name in BOXES.items():
        rows = read_every(f"docs/results/budget_{box}")
        means = rows.pivot_table("iou", "explainer", "q")
        body = [[method, *(number(float(v)) for v in line)] for method, line in zip(means.index, means.to_numpy(), strict=True)]
        body.sort(key=lambda cells: cells[-1], reverse=True)
        yield f"**{name}**\n"
        yield from markdown(["method", *(f"q = {q:g}" for q in means.columns)], body)
        yield ""
    yield "![IoU at mean + 1 std against queries, a panel a method](budget.webp)\n"


def _rest() -> Iterator[str]:
    yield "## Seeds, and 300 queries against 3000\n"
    for box, name in BOXES.items():
        line = records(summarise(read_every(f"docs/results/stability_{box}"), ["explainer"], ["stability"]))[0]
        shown = interval(number, *(line[f"stability{end}"] for end in ("", "_low", "_high")))
        yield f"- Rank correlation of two maps from two seeds, {name}: {shown} ({line['stability_n']} photographs)."
    both = read(_folders("dax300_lite0", "lime3000_lite0", boxes=False))
    for metric in ("iou_region", "iou_best"):
        lime, dax, difference, n = against(both, metric, "dax")["lime"]
        yield (
            f"- {COLUMNS[metric]} on EfficientNet-Lite0: `dax` with 300 queries {dax}, LIME with 3000 queries {lime}, "
            f"difference {difference} ({n} photographs)."
        )


def _sounds() -> Iterator[str]:
    for title, what, folder, parts in SOUNDS:
        yield f"\n## {title}\n"
        asked = read_every(f"docs/results/{folder}").drop_duplicates("case")["score"]
        yield what.format(faint=f"in {(asked < 0.05).sum()} of {len(asked)} its probability is under .05")
        for metrics in parts:
            yield ""
            yield from lead_table([f"docs/results/{folder}"], metrics)


def _coughs() -> Iterator[str]:
    yield "\n## Coughs: is the carrier found?\n"
    yield "Held-out synthetic recordings of `task=cough`, positive and heard so by the model. The carrier is the event type that"
    yield "tells positive from negative. `make carriers data=DIR` makes these rows: `dax`, q = 1000, seed 0.\n"
    yield "- *Found*: at least half of the map's highest time lies in events of the carrier. *Wholly inside*: all of it does."
    yield "- *Best of all types*: of the event types in the recording, the carrier has the highest IoU at mean + 1 std."
    yield "- Shares have Wilson intervals."
    for fill, title in FILLS.items():
        yield f"\n**{title}**\n"
        yield from carriers.table(_folders(*(f"cough_{fill}_{one}" for one in CARRIERS), boxes=False))
    yield "\n## Coughs, all methods, the paper's Table VIII\n"
    yield "The same recordings; removed segments are silence. IoU at mean + 1 std with the time of each event type; recordings"
    yield "without the type have no value. The best IoU with the carrier comes first.\n"
    yield "`python train.py experiment=table8 data=DIR q=1000 limit=40 task.carrier=inhale"
    yield "black_box.weights=outputs/models/cough_blstm_inhale.safetensors` makes these rows; `make carriers` trains the models."
    for carrier, folder in zip(CARRIERS, _folders(*(f"table8_{one}" for one in CARRIERS), boxes=False), strict=True):
        yield f"\n**The carrier is {carrier}**\n"
        yield from carriers.methods(folder)


def read_every(folder: str) -> pd.DataFrame:
    """All rows of one folder, those of each number of queries."""
    return every_row([str(ROOT / folder)])


def _folders(*kinds: str, boxes: bool = True) -> list[str]:
    names = [f"{kind}_{box}" for box in BOXES for kind in kinds] if boxes else kinds
    return [str(Path(ROOT, "docs", "results", name)) for name in names]


def _folders_of(box: str, *kinds: str) -> list[str]:
    return _folders(*(f"{kind}_{box}" for kind in kinds), boxes=False)


if __name__ == "__main__":
    main()
