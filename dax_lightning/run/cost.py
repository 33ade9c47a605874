"""What a run will ask and how long the black box will take for it, told before it runs."""

from collections.abc import Mapping

from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Metric
from dax_lightning.tasks import Task


def estimate(task: Task, explainers: Mapping[str, Explainer], metrics: Mapping[str, Metric]) -> list[str]:
    """Rows and seconds of a run, as lines to print.

    The first case is made and one batch is asked, to take the time. These rows are counted and told.

    Args:
        task: the cases; the first stands for all.
        explainers: name in the rows → explainer.
        metrics: column name → metric.

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
    batch = max(1, min(box.batch_size, max(known.values(), default=1)))
    if box.queries == 0:
        box(case.x[None])  # a model's first answer takes longer
    before = box.seconds
    box(case.x.expand(batch, *case.x.shape).clone())
    seconds = (box.seconds - before) / batch
    lines = [
        f"{name}: {cases} case{'' if cases == 1 else 's'}, "
        + (f"{known[name] * cases} rows in all ({known[name]} each)" if name in known else "rows are not known before it runs")
        for name in explainers
    ]
    total = sum(known.values()) * cases
    lines.append(f"together: {total} rows, about {total * seconds:.0f} s in the black box; segments and training come on top")
    asking = [name for name, metric in metrics.items() if metric.needs_explainer]
    if asking:
        lines.append(f"not in it: what these metrics ask: {', '.join(asking)}")
    lines.append(f"asked for this estimate: {box.queries} rows; nothing was explained")
    return lines
