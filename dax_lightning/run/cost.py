"""What a run will ask and how long the black box will take for it, told before it runs."""

from collections.abc import Mapping

from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Metric
from dax_lightning.tasks import Task


def estimate(
    task: Task, explainers: Mapping[str, Explainer], metrics: Mapping[str, Metric], price_per_1000: float | None = None
) -> list[str]:
    """Rows, seconds and money of a run, as lines to print.

    The first case is made and one batch is asked, to take the time. These rows are counted and told. With a store, which would
    know the batch's rows, the time is that of the rows that were asked so far.

    Args:
        task: the cases; the first stands for all.
        explainers: name in the rows → explainer.
        metrics: column name → metric.
        price_per_1000: of a thousand rows, in any currency; ``None``: they cost nothing.

    Example:
        >>> from dax_lightning.explainers.random import Random
        >>> from dax_lightning.tasks import Shapes
        >>> from dax_lightning.testing import QuarterBox
        >>> box = QuarterBox()
        >>> estimate(Shapes(box, n=3, size=32), {"random": Random(box)}, {})[0]
        'random: 3 cases, 6 rows in all (2 each)'
    """
    box, cases, case = task.black_box, len(task), task[0]
    each = {name: made.rows_needed(case.x) for name, made in explainers.items()}
    known = {name: rows + case.asked for name, rows in each.items() if rows is not None}
    seconds = _seconds_a_row(box, case.x, max(known.values(), default=1))
    lines = [
        f"{name}: {cases} case{'' if cases == 1 else 's'}, "
        + (f"{known[name] * cases} rows in all ({known[name]} each)" if name in known else "rows are not known before it runs")
        for name in explainers
    ]
    total = sum(known.values()) * cases
    stored = "" if box.store is None else ", fewer where the store knows some"
    price = "" if price_per_1000 is None else f", at a price of {total / 1000 * price_per_1000:.2f}"
    told = f"about {total * seconds:.0f} s in the black box{price}{stored}"
    lines.append(f"together: {total} rows, {told}; segments and training come on top")
    asking = [name for name, metric in metrics.items() if metric.needs_explainer]
    if asking:
        lines.append(f"not in it: what these metrics ask: {', '.join(asking)}")
    lines.append(f"asked so far: {box.asked} rows; nothing is explained yet")
    return lines


def _seconds_a_row(box: BlackBox, x: Tensor, most: int) -> float:
    if box.store is not None and box.asked:
        return box.seconds / box.asked
    batch = max(1, min(box.batch_size, most))
    if box.queries == 0:
        box(x[None])  # a model's first answer takes longer
    before = box.seconds
    box(x.expand(batch, *x.shape).clone())
    return (box.seconds - before) / batch
