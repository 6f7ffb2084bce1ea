"""Trying several recipes for one model, by Optuna."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ae_cli.config.recipe import Activation, Recipe
from ae_cli.errors import TrainingError, UsageError

if TYPE_CHECKING:
    import optuna

JOURNAL = "trials.log"
BATCH_SIZES = (32, 64, 128, 256)
FARTHEST = 4.0  # times the preset's learning rate, and a part of it

# Called after each epoch with its number and error: whether to give the trial up
GivesUp = Callable[[int, float], bool]


class GivenUpError(Exception):
    """A trial was worse than the others after as many epochs."""


def check_optuna() -> None:
    """Make sure that Optuna is installed.

    Raises:
        UsageError: It is not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--trials needs Optuna", 'install it with `pip install "ae-cli[sweep]"`'
        ) from error


def search(
    folder: Path,
    name: str,
    trials: int,
    seed: int,
    usual: Recipe,
    attempt: Callable[[int, dict[str, Any], GivesUp], float],
) -> dict[str, Any]:
    """Try recipes, the preset's first, until there are enough trials, counting earlier ones.

    What was tried is in a journal in the folder. A trial that was cut off is repeated.

    Args:
        folder: The sweep's folder.
        name: What is searched for.
        trials: How many trials there should be.
        seed: Decides which recipes are tried.
        usual: The preset's recipe.
        attempt: Trains with a trial's number and options, and returns the error. It raises
            `GivenUpError` where `GivesUp` says so.

    Returns:
        The options of the best trial.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    logging.getLogger("optuna").setLevel(logging.WARNING)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name=name,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
        load_if_exists=True,
    )
    _repeat_cut_off(study)
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))  # not the same again
    if not study.trials:
        study.enqueue_trial(
            {
                "lr": usual.training.lr,
                "batch_size": usual.training.batch_size,
                "activation": usual.model.activation,
            }
        )
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    while len(study.get_trials(deepcopy=False, states=ended)) < trials:
        trial = study.ask()
        options = _suggest(trial, usual)

        def gives_up(epoch: int, error: float, trial: optuna.Trial = trial) -> bool:
            trial.report(error, epoch)
            return trial.should_prune()

        try:
            study.tell(trial, attempt(trial.number, options, gives_up))
        except (GivenUpError, TrainingError):  # such as a learning rate that is too high
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return dict(study.best_trial.params)


def _suggest(trial: optuna.Trial, usual: Recipe) -> dict[str, Any]:
    sizes = sorted({*BATCH_SIZES, usual.training.batch_size})
    lr = usual.training.lr
    return {
        "lr": trial.suggest_float("lr", lr / FARTHEST, lr * FARTHEST, log=True),
        "batch_size": trial.suggest_categorical("batch_size", sizes),
        "activation": trial.suggest_categorical("activation", get_args(Activation)),
    }


def _repeat_cut_off(study: optuna.Study) -> None:
    """Mark trials that a killed process left behind as failed, and queue them again."""
    import optuna

    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
