"""A training, from where it stands to its end: shown, kept, logged and watched on the way."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

from ae_cli.anomalies import error_quantiles
from ae_cli.cli.options import checkpoint_argument, shell_word
from ae_cli.cli.stopping import postponed
from ae_cli.cli.watching import Watch
from ae_cli.config import Metrics
from ae_cli.console import Reporter, format_shape
from ae_cli.errors import AeError, Interrupted, TrainingError, UsageError, kind_of_interruption
from ae_cli.metrics_log import MetricsLog, step_row
from ae_cli.model import count_parameters
from ae_cli.resume import Keeper, Run
from ae_cli.tensorboard import TensorBoard
from ae_cli.train import Epoch, Step, fit, mean_image_error

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from ae_cli.cli.train import Outputs
    from ae_cli.data import DataSet

# The share of the mean image's error above which a model has learned next to nothing.
COLLAPSED = 0.98


class Training:
    """A training and all that goes with it.

    Args:
        run: The training itself.
        images: What it learns from, and is measured on.
        outputs: What to write.
        device: Where to compute.
        reporter: Is told all of it.
        source: The checkpoint whose training goes on; None for a new one.
    """

    def __init__(
        self,
        run: Run,
        images: DataSet,
        outputs: Outputs,
        device: torch.device,
        reporter: Reporter,
        *,
        source: Path | None,
    ) -> None:
        self._run, self._images, self._outputs = run, images, outputs
        self._device, self._reporter = device, reporter
        self._resumed = resumed = source is not None
        self._keeper = Keeper(run, outputs.out, source)
        self._watch = Watch(
            outputs.watch,
            run.model,
            images.test,
            epochs=run.training.epochs,
            begins=(run.state.epoch, run.updates) if resumed else None,
            device=device,
            reporter=reporter,
        )
        after_step = run.updates if resumed else None
        self._log = self._board = None
        if outputs.log is not None:
            self._log = MetricsLog(outputs.log, after_step=after_step)
        if outputs.tensorboard is not None:
            self._board = TensorBoard(
                outputs.tensorboard,
                run.model,
                images.test,
                device=device,
                run_id=run.id,
                after_step=after_step,
            )

    def carry_out(self) -> None:
        """Train to the end, and say so.

        Raises:
            Interrupted: Somebody ended it. What there was up to then is kept.
            TrainingError: It cannot go on.
            UsageError: A file cannot be written, or there is not enough memory.
        """
        self._announce()
        self._train()
        self._conclude()

    def _announce(self) -> None:
        """Say what will be done."""
        run, reporter, config = self._run, self._reporter, self._run.model.config
        parameters = count_parameters(run.model)
        reporter.say("data", _describe(self._images, run))
        reporter.say(
            "model",
            f"{'-'.join(map(str, config.sizes))}, {config.activation}, {parameters:,} parameters, "
            f"on {self._device}",
        )
        if self._resumed:
            left = ""
            if run.state.epoch > run.training.epochs:
                left = f"; nothing is left to do: --epochs {2 * run.training.epochs} would go on"
            elif run.has_stopped_early:
                left = "; stopped early: a larger --patience would go on"
            reporter.say("resumed", f"{self._name(run.state.epoch, run.state.step)}{left}")
        reporter.emit(
            "start",
            data={**asdict(run.data), "shape": config.shape},
            model={**asdict(config), "sizes": config.sizes, "parameters": parameters},
            training=asdict(run.training),
            device=str(self._device),
            checkpoint=str(self._outputs.out),
            resumed={"epoch": run.state.epoch - 1, "step": run.updates} if self._resumed else None,
        )

    def _train(self) -> None:
        """Train until it is over, or somebody wants an end."""
        run = self._run
        try:
            self._keeper.go_on()
            with (
                postponed() as stop,
                self._reporter.training(
                    run.training.epochs,
                    self._outputs.log_every,
                    test_loss=None if run.reached is None else run.reached.test_loss,
                ) as show,
                closing(self._events()) as events,
            ):
                for event in events:
                    show(event)
                    ending = stop.kind  # looked at once: whoever ends here has saved this step
                    if isinstance(event, Epoch):
                        self._finish_epoch(event)
                        if run.has_stopped_early:
                            break
                    else:
                        self._watch(event)
                        self._log_step(event)
                        if event.step == event.steps:
                            continue  # the whole epoch follows at once, and is saved
                        if ending or event.is_due(run.training.checkpoint_every):
                            self._keeper.save_state()
                    if ending and not run.is_over:
                        raise ending
        except (KeyboardInterrupt, Interrupted) as error:
            kind = type(error) if isinstance(error, Interrupted) else kind_of_interruption(error)
            where = self._name(run.state.epoch, run.state.step)
            raise kind(f"{kind.what} {where}", self._salvage()) from None
        except (TrainingError, UsageError) as error:
            there = self._salvage(error.problem, can_resume=isinstance(error, UsageError))
            raise type(error)(there, error.remedy) from error

    def _events(self) -> Generator[Step | Epoch]:
        """What happens, if anything is left to do."""
        if not self._run.is_over:
            run, train, test = self._run, self._images.train, self._images.test
            yield from fit(
                run.model, train, test, run.training, device=self._device, state=run.state
            )

    def _finish_epoch(self, event: Epoch) -> None:
        """Log an epoch, and keep what it reached. In this order: what is kept is in the log."""
        seconds = 0.0 if self._run.reached is None else self._run.reached.seconds
        self._run.finish_epoch(
            Metrics(
                epoch=event.epoch,
                step=event.step,
                train_loss=event.train_loss,
                test_loss=event.test_loss,
                test_error=event.test_error,
                seconds=seconds + event.seconds,
                error_quantiles=error_quantiles(event.test_errors),
            )
        )
        fields = asdict(event)
        del fields["test_errors"]
        if self._log is not None:
            self._log.write(fields)
        if self._board is not None:
            self._board.write_epoch(event)
        self._keeper.save_epoch()
        self._reporter.emit("epoch", **fields)

    def _log_step(self, event: Step) -> None:
        """Log a step, if it is one to be logged."""
        if not event.is_due(self._outputs.log_every):
            return
        fields = step_row(event)
        if self._log is not None:
            self._log.write(fields)
        del fields["test_loss"]
        self._reporter.emit("step", **fields)

    def _conclude(self) -> None:
        """Say what came of it, and write what is written at the end."""
        run, reporter, out = self._run, self._reporter, self._outputs.out
        reached, kept = run.reached, run.kept
        if reached is None or kept is None:
            raise AssertionError("training has at least one epoch")
        reporter.say(
            "done",
            f"{reached.epoch} epoch{'s' * (reached.epoch > 1)} in {reached.seconds:.1f} s of "
            f"training: train loss {reached.train_loss:.4f}, test loss {reached.test_loss:.4f}",
        )
        if run.has_stopped_early and run.best is not None:
            better = "" if kept == run.best else ", which --keep best would have kept"
            reporter.say(
                "stopped", f"no test loss was below that of epoch {run.best.epoch}{better}"
            )
        if run.training.keep == "best":
            reporter.say(
                "kept", f"epoch {kept.epoch}, with the lowest test loss, {kept.test_loss:.4f}"
            )
        if kept.test_error > COLLAPSED * mean_image_error(self._images.test):
            reporter.warn(
                "the model reconstructs images no better than their mean would; "
                "try another --seed, more --epochs or --activation silu"
            )
        backup = self._keeper.backup
        reporter.say("checkpoint", _name_both(out, backup))
        if self._outputs.log is not None and self._log is not None:
            reporter.say("log", _name_both(self._outputs.log, self._log.backup))
        film, board = self._outputs.watch.film, self._outputs.tensorboard
        failure: AeError | None = None
        try:
            self._write_latents()
            self._watch.write_film()
        except UsageError as error:
            failure = error
        except KeyboardInterrupt as error:
            kind = kind_of_interruption(error)
            failure = kind(
                f"{kind.what} while writing {film or board}", f"{out} holds epoch {kept.epoch}"
            )
        if failure is None:
            reporter.say("next", "ae reconstruct --n 5" + checkpoint_argument(out))
        reporter.emit(
            "end",
            epochs=reached.epoch,
            step=reached.step,
            kept_epoch=kept.epoch,
            stopped_early=run.has_stopped_early,
            train_loss=kept.train_loss,
            test_loss=kept.test_loss,
            test_error=kept.test_error,
            seconds=reached.seconds,
            checkpoint=str(out),
            backup=None if backup is None else str(backup),
            film=None if film is None or failure else str(film),
        )
        if failure is not None:  # only now: the model is whole, and the events say so
            raise failure
        self._watch.linger()

    def _write_latents(self) -> None:
        """Write the latents for TensorBoard, if it is used and anything was trained."""
        folder, updates = self._outputs.tensorboard, self._run.updates
        if self._board is not None and folder is not None and updates:
            self._board.write_latents(updates)
            if folder.is_dir():  # nothing is written of a model that diverges at once
                command = f"tensorboard --logdir {shell_word(folder)}"
                self._reporter.say("curves", f"{folder}: {command}")

    def _salvage(self, *problem: str, can_resume: bool = True) -> str:
        """Write what can be written of a training that ends early.

        Args:
            problem: Why it ends, where that is to be said first.
            can_resume: Whether going on would not only fail again.

        Returns:
            What there is now, as `_what_there_is` says it.
        """
        has_film = False
        try:
            self._write_latents()
            has_film = self._watch.write_film()
        except UsageError as error:
            self._reporter.warn(str(error))  # and no more: why training has ended matters more
        except KeyboardInterrupt:
            pass  # once more: whoever is in such a hurry does without
        return self._what_there_is(*problem, has_film=has_film, can_resume=can_resume)

    def _what_there_is(self, *problem: str, has_film: bool, can_resume: bool) -> str:
        """What there is of a training that ends early, and how to go on, in one sentence."""
        out, kept, saved = self._outputs.out, self._keeper.kept, self._keeper.saved
        clauses = list(problem)
        if kept is not None:
            clauses.append(f"{out} holds epoch {kept.epoch}")
        elif out.exists():
            clauses.append(f"{out} is as it was before")
        elif saved or has_film:
            clauses.append("there is no model yet")
        else:
            clauses.append("nothing was written")
        if has_film:
            clauses.append(f"{self._outputs.watch.film} holds what was recorded")
        if can_resume and saved is not None:
            command = f"ae train --resume{self._outputs.arguments()}"
            is_here = saved == (self._run.state.epoch, self._run.state.step)
            where = "from there" if is_here and not problem else self._name(*saved)
            clauses.append(f"`{command}` goes on {where}")
        return ", and ".join(filter(None, [", ".join(clauses[:-1]), clauses[-1]]))

    def _name(self, epoch: int, step: int) -> str:
        """Where training stands, in words: within an epoch, or after one."""
        epochs = self._run.training.epochs
        if step or epoch == 1:
            return f"in epoch {epoch} of {epochs}, step {step:,} of {self._run.steps:,}"
        return f"after epoch {epoch - 1} of {epochs}"


def _name_both(path: Path, backup: Path | None) -> str:
    return f"{path}" + (f" (the one before: {backup})" if backup else "")


def _describe(images: DataSet, run: Run) -> str:
    """What is trained on, in one line."""
    there, used = len(images.train), run.data.train_images
    training = f"{there:,}" if used == there else f"the first {used:,} of {there:,}"
    held_out = "" if images.val_fraction is None else " (held out)"
    classes, selected = images.train.classes, run.data.selected_classes
    labels = ", no labels" if classes is None else f", {len(classes)} classes"
    if selected is not None:
        labels = f", {len(selected)} of {len(classes or ())} classes"
    return (
        f"{images.name}: {training} training + {len(images.test):,} test images{held_out}, "
        f"{format_shape(images.train.shape)}{labels}"
    )
