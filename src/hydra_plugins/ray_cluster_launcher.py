"""``hydra/launcher=ray_cluster``: runs the jobs of a multirun in parallel on a Ray cluster."""

from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class RayClusterLauncher(Launcher):  # type: ignore[misc]  # Hydra is not typed
    """Hydra launcher for Ray; ``docs/many-runs.md`` says why it is not ``hydra-ray-launcher``.

    Args:
        address: address of the cluster; None starts a cluster on this machine for the duration of the multirun.
        cpus: CPUs of a cluster that is started; None for all CPUs of this machine.
        cpus_per_job: CPUs that each job needs.
        gpus_per_job: GPUs that each job needs, or a fraction of one.
    """

    def __init__(self, address: str | None, cpus: int | None, cpus_per_job: float, gpus_per_job: float) -> None:
        self.address, self.cpus = address, cpus
        self.needs = {"num_cpus": cpus_per_job, "num_gpus": gpus_per_job}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what the jobs need."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and wait for all of them.

        Raises:
            ConfigError: Ray is not installed.
            RayError: a job's process was killed.
        """
        from gradclip.sweep.on_ray import start_ray

        start_ray(self.address, self.cpus)
        import ray

        shared = ray.put((self.hydra_context, self.task_function, self.config, Singleton.get_state()))
        job = ray.remote(run_one).options(**self.needs, max_retries=0)  # a retry would be a second run
        jobs = enumerate(job_overrides, start=initial_job_idx)
        returned: list[JobReturn] = ray.get([job.remote(shared, number, list(overrides)) for number, overrides in jobs])
        return returned


def run_one(shared: tuple[Any, ...], number: int, overrides: list[str]) -> JobReturn:
    """Run one job in a Ray process, as Hydra's own launchers do.

    Args:
        shared: context, task function, config and Hydra's singletons, which all jobs have in common.
        number: number of the job.
        overrides: overrides of the job.
    """
    hydra_context, task_function, config, singletons = shared
    setup_globals()
    Singleton.set_state(singletons)
    job = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id, job.hydra.job.num = str(number), number
    HydraConfig.instance().set_config(job)
    return run_job(
        hydra_context=hydra_context,
        config=job,
        task_function=task_function,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
