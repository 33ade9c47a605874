"""``hydra/launcher=ray``: each job of a sweep is a Ray task, on this machine or on a cluster.

Hydra finds launchers in the namespace ``hydra_plugins`` alone. The published hydra-ray-launcher wants cloudpickle 2 and boto3.
"""

import os
from collections.abc import Sequence
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

_OBJECTS = 100_000_000  # bytes of Ray's object store: jobs exchange their settings and nothing else
_QUIET = {  # no statistics to its makers; a job's lines as they are; no GPU is seen by a job that asked for none
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
_ALONE = {"RAY_AUTH_MODE": "disabled"}  # on loopback; else Ray writes a token under the home folder


class RayLauncher(Launcher):
    """Runs the jobs of a sweep as Ray tasks.

    Ray queues the jobs and gives each its CPUs and GPUs. A job whose worker died begins again, in the same folder, where it
    stood. A job that fails ends no other.

    Args:
        address: of a cluster, such as ``auto`` or ``10.0.0.5:6379``; its machines share the folder of the command. ``None``: a
            cluster on this machine, for this command alone.
        workers: CPUs of that cluster, so the most jobs at once where each takes one; ``None``: all of this machine.
        num_cpus: of a job, above 0; it has so many threads.
        num_gpus: of a job; 0.25: four jobs share one. ``None``: one where the cluster has any, else none.
        max_retries: how often a job whose worker died begins again; 0 or more.

    Raises:
        InputError: a number is out of range; when it launches, Ray is not installed or the cluster can't be reached.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        num_cpus: float = 1,
        num_gpus: float | None = None,
        max_retries: int = 3,
    ):
        from dax_lightning.errors import InputError  # Hydra imports this module for every command

        for name, value, least in (("num_gpus", num_gpus, 0), ("max_retries", max_retries, 0), ("workers", workers, 1)):
            if value is not None and value < least:
                raise InputError(f"hydra.launcher.{name}={value}: it must be at least {least}")
        if num_cpus <= 0:
            raise InputError(f"hydra.launcher.num_cpus={num_cpus}: a job needs a part of a CPU at least, such as 1")
        if address is not None and workers is not None:
            raise InputError(f"hydra.launcher.workers={workers} goes with a cluster of this machine: leave it out, or address")
        self.address, self.workers, self.num_cpus, self.num_gpus = address, workers, num_cpus, num_gpus
        self.max_retries = max_retries

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; what a worker's death left undone is told at the end.

        Raises:
            InputError: Ray is missing, or the cluster can't be reached.
            WorkerCrashedError: Ray's own, after all other jobs: a worker died too often.
        """
        setup_globals()
        ray = _ray({**_QUIET, **(_ALONE if self.address is None else {})})
        own = not ray.is_initialized()
        if own:
            self._start(ray)
        try:
            return self._launched(ray, job_overrides, initial_job_idx)
        finally:
            if own:
                ray.shutdown()

    def _start(self, ray: Any) -> None:
        from dax_lightning.errors import InputError

        common: dict[str, Any] = {"include_dashboard": False, "log_to_driver": True, "logging_level": "ERROR"}
        try:
            if self.address is None:
                ray.init(address="local", num_cpus=self.workers, object_store_memory=_OBJECTS, **common)
            else:
                ray.init(address=self.address, log_to_driver=True, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            what = " ".join(str(error).split())[:200]
            remedy = "start one with ray start --head, or leave hydra.launcher.address out for a cluster of this machine"
            raise InputError(f"hydra.launcher.address={self.address}: no Ray cluster answers ({what}): {remedy}") from error

    def _launched(self, ray: Any, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        gpus = self.num_gpus if self.num_gpus is not None else min(1, ray.cluster_resources().get("GPU", 0))
        job = ray.remote(
            num_cpus=self.num_cpus,
            num_gpus=gpus,
            max_retries=self.max_retries,
            max_calls=0,  # a worker goes on with the next job, and its model stays loaded
        )(_job)
        shared = ray.put((self.context, self.function, self.config, Singleton.get_state()))
        jobs = [job.remote(shared, number, list(overrides)) for number, overrides in enumerate(job_overrides, first)]
        try:
            ray.wait(jobs, num_returns=len(jobs))
        except BaseException:  # Ctrl-C: the jobs that run write their reports, those that wait never begin
            for one in jobs:
                ray.cancel(one, force=False)
            ray.wait(jobs, num_returns=len(jobs), timeout=60)
            raise
        done, broken = [], []
        for one in jobs:
            try:
                done.append(ray.get(one))
            except ray.exceptions.RayTaskError as error:  # Hydra's, of a job that can't be composed
                broken.append(error.cause)
            except ray.exceptions.RayError as error:
                broken.append(error)
        if broken:
            raise broken[0]
        return done


def _job(shared: Any, number: int, overrides: list[str]) -> JobReturn:
    """One job, in a worker of Ray."""
    context, function, config, singletons = shared
    setup_globals()
    Singleton.set_state(singletons)
    job = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    return run_job(
        hydra_context=context,
        task_function=function,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _ray(settings: dict[str, str]) -> Any:
    from dax_lightning.errors import InputError

    for name, value in settings.items():  # it reads some when it is imported
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise InputError("hydra/launcher=ray needs the package ray: pip install 'dax-lightning[ray]'") from error
    return ray
