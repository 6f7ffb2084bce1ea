"""A whole run: starting or resuming, saving, logging, watching and ending it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING

from ae_cli.analysis.components import find_components, pca_error
from ae_cli.analysis.judge import error_quantiles
from ae_cli.analysis.scores import describe_normal, learn_normal
from ae_cli.config import CHECKPOINT, Metrics, Recipe
from ae_cli.config.training import TrainOptions
from ae_cli.data.images import DataSet
from ae_cli.data.paths import warn_of_output
from ae_cli.errors import (
    AeError,
    Interrupted,
    LostProcessError,
    TrainingError,
    UsageError,
    kind_of_interruption,
    warn,
)
from ae_cli.files import only_writer
from ae_cli.latents.infer import Reconstruction, reconstruct_all
from ae_cli.latents.model import Model, load_model
from ae_cli.models import choose_device, count_parameters
from ae_cli.models.checkpoint import load_checkpoint, save_checkpoint
from ae_cli.models.health import find_problems
from ae_cli.processes import find_team
from ae_cli.results import count_epochs
from ae_cli.training.beginning import begin, choose_images, resume
from ae_cli.training.events import Begun, Epoch, Event, Finished, Step, Trained, Written
from ae_cli.training.fit import fit
from ae_cli.training.keeper import Keeper
from ae_cli.training.log import MetricsLog
from ae_cli.training.outputs import Outputs
from ae_cli.training.resume import Run
from ae_cli.training.stopping import postponed
from ae_cli.training.tensorboard import TensorBoard

if TYPE_CHECKING:
    from ae_cli.training.watching import Watch


class Session:
    """A run that is kept on disk, so that it can be resumed however it ends.

    It is a context manager, which locks the run's files; in its block, iterate over its events. If
    the run is interrupted or fails, the error is raised again and says what was saved.

    Example:
        with Session(options) as session:
            for event in session:
                print(event)
        model = session.model()

    Args:
        options: The images to train on, the recipe, and the outputs.

    Attributes:
        written: What was written after the run ended early, when no event could report it.
    """

    def __init__(self, options: TrainOptions) -> None:
        self._options = options
        self._stack = ExitStack()
        self._events: Generator[Event] | None = None
        self._is_training = False  # from the `Begun` event to the last step
        self._model: Model | None = None
        self._watch: Watch | None = None
        self.written: list[Written] = []

    def __enter__(self) -> Session:
        """Check and lock the outputs, read the images, and build or read the model.

        Raises:
            AeError: An option is invalid, an input cannot be read, or an output cannot be written.
        """
        options = self._options
        with ExitStack() as stack:
            self._device = choose_device(options.device)
            self._team = stack.enter_context(closing(find_team(self._device)))
            out = CHECKPOINT if options.out is None else Path(options.out)
            source = Path(options.checkpoint or out) if options.resume else None
            if options.out is None or self._follows:  # the model is kept in memory only
                out = Path(stack.enter_context(TemporaryDirectory())) / CHECKPOINT
            # The first process alone writes.
            self._outputs = outputs = Outputs(out) if self._follows else Outputs.of(options, out)
            outputs.check(options.data, resumed=options.resume)
            stack.enter_context(only_writer(outputs.growing_files, outputs.other_files))
            self._set_up(source)
            self._stack = stack.pop_all()
        return self

    @property
    def _follows(self) -> bool:
        """Whether this is one of several processes, and not the first."""
        return self._team.place.rank > 0

    def _set_up(self, source: Path | None) -> None:
        """Read or build everything.

        Args:
            source: The checkpoint whose run is resumed; None for a new one.
        """
        options, outputs, device = self._options, self._outputs, self._device
        self._run: Run
        self._images: DataSet
        with self._team.first_alone():
            if source is None:
                self._run, self._images = begin(options, device)
            else:
                self._run, self._images = resume(source, options, device)
        run = self._run
        warn_of_output(self._images.source, outputs.out)
        test = choose_images(run, self._images).test
        self._team.copy_from_first(list(run.model.state_dict().values()))
        self._resumed = source is not None
        self._keeper = Keeper(run, outputs.out, source, writes=not self._follows)
        after_step = run.updates if self._resumed else None
        is_live = options.live and not self._follows
        if outputs.film is not None or is_live:
            from ae_cli.training.watching import Watch  # and Matplotlib with it

            self._watch = Watch(
                outputs.film,
                options.film_of,
                is_live,
                run.model,
                test,
                epochs=run.training.epochs,
                begins=(run.state.epoch, run.updates) if self._resumed else None,
                device=device,
                progress=options.progress,
            )
        self._log = self._board = None
        if outputs.log is not None:
            self._log = MetricsLog(outputs.log, after_step=after_step)
        if outputs.tensorboard is not None:
            self._board = TensorBoard(
                outputs.tensorboard,
                run.model,
                test,
                device=device,
                run_id=run.id,
                after_step=after_step,
            )

    def __iter__(self) -> Iterator[Event]:
        """Train, and yield what happens: `Begun`, `Step`s, `Epoch`s, `Trained` and so on."""
        self._events = self._carry_out()
        return self._events

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the files. If the run ended early, write what can be written, and report it.

        Raises:
            Interrupted: The run was interrupted.
            TrainingError: The run could not continue.
            UsageError: A file could not be written, or memory was insufficient.
        """
        # Once a process is lost, torchrun ends the others with a signal, which says less than that.
        is_lost = isinstance(error, LostProcessError)
        with postponed() if is_lost else nullcontext(), self._stack:
            if self._events is not None:
                self._events.close()  # this restores the handlers of signals
            if self._is_training and error is not None:
                self._raise_with_remains(error)
            if self._events is not None:
                self._keeper.flush()  # the caller may have stopped before the last event
            if self._options.out is None and self._outputs.out.exists():
                self._model = load_model(self._outputs.out)  # before its folder is removed

    def model(self) -> Model:
        """The model that was kept, as the checkpoint holds it.

        Raises:
            CheckpointError: It cannot be read.
        """
        return self._model or load_model(self._outputs.out)

    def show(self, count: int) -> Reconstruction:
        """The first images that the model is measured on, reconstructed by the kept model.

        Args:
            count: How many; all if there are fewer.
        """
        images = choose_images(self._run, self._images).test.head(count)
        return reconstruct_all(self.model().model, images, device=self._device)

    def linger(self) -> None:
        """Keep the window, if there is one, until the user closes it."""
        if self._watch is not None:
            self._watch.linger()

    def _carry_out(self) -> Generator[Event]:
        self._is_training = True
        yield self._describe()
        yield from self._train()
        self._is_training = False
        if not self._follows:
            yield from self._conclude()

    def _describe(self) -> Begun:
        run, config = self._run, self._run.model.config
        return Begun(
            data={
                **asdict(run.data),
                "shape": config.shape,
                "changes": self._images.changes,
            },
            model={
                **asdict(config),
                "sizes": config.sizes if config.model == "mlp" else None,
                "parameters": count_parameters(run.model),
            },
            training=run.training,
            device=str(self._device),
            checkpoint=self._outputs.out,
            resumed={"epoch": run.state.epoch - 1, "step": run.updates} if self._resumed else None,
            architecture=run.model.architecture,
            objective=Recipe(config, run.training).objective,
            steps=run.steps,
            name=self._images.name,
            there=len(self._images.train),
            place=self._describe_place(run.state.epoch, run.state.step),
            is_over=run.state.epoch > run.training.epochs,
            has_stopped_early=run.has_stopped_early,
            test_loss=None if run.reached is None else run.reached.test_loss,
        )

    def _train(self) -> Iterator[Event]:
        """Train until the run is over, or a signal asks to stop."""
        run, images = self._run, self._images
        self._keeper.resume()
        if run.is_over:
            return
        train, val, test = choose_images(run, images)
        events = fit(
            run.model,
            train,
            test,
            run.training,
            val=val,
            device=self._device,
            state=run.state,
            team=self._team,
        )
        with postponed() as stop, closing(events):
            for event in events:
                # Read once: the run stops only if this very step is saved.
                ending = self._team.agree(stop.kind)
                if isinstance(event, Epoch):
                    self._finish_epoch(event, stop=ending is not None)
                else:
                    self._finish_step(event, stop=ending is not None)
                yield event
                if run.has_stopped_early:
                    return
                is_last = isinstance(event, Step) and event.step == event.steps
                if ending and not run.is_over and not is_last:
                    raise ending

    def _finish_step(self, event: Step, *, stop: bool) -> None:
        """Watch and log a step, and save it if that is due or the run will stop."""
        if self._watch is not None:
            self._watch(event)
        if self._log is not None and event.is_due(self._outputs.log_every):
            self._log.write({**event.as_json(), "test_loss": None})
        if event.step == event.steps:
            return  # the whole epoch follows at once, and is saved
        if stop or event.is_due(self._run.training.checkpoint_every):
            self._keeper.save_state()

    def _finish_epoch(self, event: Epoch, *, stop: bool) -> None:
        """Log an epoch, and then save it, so that every saved epoch is in the log."""
        seconds = 0.0 if self._run.reached is None else self._run.reached.seconds
        self._run.finish_epoch(
            Metrics(
                epoch=event.epoch,
                step=event.step,
                train_loss=event.train_loss,
                test_loss=event.test_loss,
                val_loss=event.val_loss,
                test_error=event.test_error,
                seconds=seconds + event.seconds,
                error_quantiles=error_quantiles(event.test_errors),
                latents_in_use=event.latents_in_use,
                kl=event.kl,
            )
        )
        if self._log is not None:
            self._log.write(event.as_json())
        if self._board is not None:
            self._board.write_epoch(event)
        self._keeper.save_epoch(stop=stop)

    def _conclude(self) -> Iterator[Event]:
        """Write the outputs that are written at the end of a run."""
        run, out = self._run, self._outputs.out
        reached, kept, best = run.reached, run.kept, run.best
        if reached is None or kept is None or best is None:
            raise AssertionError("a run has at least one epoch")
        pca = self._measure_pca()
        yield Trained(
            reached=reached,
            kept=kept,
            best=best,
            has_stopped_early=run.has_stopped_early,
            keeps_best=run.training.keep == "best",
            judged=run.data.judged,
            pca_error=pca,
            problems=find_problems(run.model.config, run.training, run.data, kept),
            backup=self._keeper.backup,
            log_backup=None if self._log is None else self._log.backup,
        )
        failure: AeError | None = None
        for write, path in (
            (self._write_normal, out),
            (self._write_latents, self._outputs.tensorboard),
            (self._write_film, self._outputs.film),
            (self._write_curve, self._outputs.curve),
        ):
            try:
                if written := write():
                    yield written
            except UsageError as error:  # noqa: PERF203 - each is tried for itself
                failure = failure or error
            except KeyboardInterrupt as error:
                kind = kind_of_interruption(error)
                failure = kind(
                    f"{kind.what} while writing {path}", f"{out} holds epoch {kept.epoch}"
                )
                break
        yield Finished(
            epochs=reached.epoch,
            step=reached.step,
            kept_epoch=kept.epoch,
            stopped_early=run.has_stopped_early,
            train_loss=kept.train_loss,
            test_loss=kept.test_loss,
            test_error=kept.test_error,
            pca_error=pca,
            latents_in_use=kept.latents_in_use,
            kl=kept.kl,
            seconds=reached.seconds,
            checkpoint=out,
            backup=self._keeper.backup,
            film=self._outputs.film if failure is None else None,
            curve=self._outputs.curve if failure is None else None,
            is_complete=failure is None,
        )
        if failure is not None:  # only after the event, as the model is complete
            raise failure

    def _measure_pca(self) -> float:
        """The error of PCA with as many components, fitted to the images that are learned from."""
        run = self._run
        if run.data.pca_error is not None:  # the model started from it
            return run.data.pca_error
        train, _, test = choose_images(run, self._images)
        line = find_components(train, run.model.config.latent_dim, quick=True)
        return pca_error(line, test)

    def _write_normal(self) -> Written | None:
        """Add what is normal to the checkpoint, if the model is for anomalies."""
        run, out = self._run, self._outputs.out
        if not run.data.for_anomalies:
            return None
        checkpoint = load_checkpoint(out)
        normal = checkpoint.normal
        if normal is None:
            self._options.progress("what is normal", 0, None, "")
            train, _, test = choose_images(run, self._images)
            normal = learn_normal(checkpoint.model, train, test, device=self._device)
            save_checkpoint(replace(checkpoint, normal=normal), out)
        return Written("normal", out, describe_normal(normal))

    def _write_film(self) -> Written | None:
        """Write the film, if one was recorded."""
        return None if self._watch is None else self._watch.write_film()

    def _write_curve(self) -> Written | None:
        """Write the picture of the losses, if it was asked for and an epoch has ended."""
        path, history = self._outputs.curve, self._run.history
        if path is None or not history:
            return None
        from ae_cli import figures  # and Matplotlib with it

        losses = {self._outputs.out.name: history}
        figures.write(path, lambda figure: figures.draw_losses(figure, losses))
        return Written("curve", path, count_epochs(history[-1].epoch))

    def _write_latents(self) -> Written | None:
        """Write the latents for TensorBoard, if it is used and anything was trained."""
        folder, updates = self._outputs.tensorboard, self._run.updates
        if self._board is None or folder is None or not updates:
            return None
        self._board.write_latents(updates)
        # If the model has diverged, no latents are written, and the folder may not exist.
        return Written("curves", folder) if folder.is_dir() else None

    def _raise_with_remains(self, error: BaseException) -> None:
        """Raise an error that ended the run early again, and say what was saved."""
        if isinstance(error, (KeyboardInterrupt, Interrupted)):
            kind = type(error) if isinstance(error, Interrupted) else kind_of_interruption(error)
            where = self._describe_place(self._run.state.epoch, self._run.state.step)
            raise kind(f"{kind.what} {where}", self._salvage()) from None
        if isinstance(error, (TrainingError, UsageError)):
            can_resume = isinstance(error, (UsageError, LostProcessError))
            there = self._salvage(error.problem, can_resume=can_resume)
            raise type(error)(there, error.remedy) from error

    def _salvage(self, *problem: str, can_resume: bool = True) -> str:
        """Write what can be written of a run that ends early.

        Args:
            problem: Why it ends, if the sentence should start with that.
            can_resume: Whether resuming would help, rather than fail again.

        Returns:
            What was saved, and how to continue, in one sentence.
        """
        for write in (self._keeper.flush, self._write_latents, self._write_film, self._write_curve):
            try:
                if written := write():
                    self.written.append(written)
            except UsageError as error:  # noqa: PERF203 - as above
                warn(str(error))  # only a warning: why the run ended matters more
            except KeyboardInterrupt:
                break  # another signal: skip the remaining outputs
        film = next((written for written in self.written if written.what == "film"), None)
        out, kept, saved = self._outputs.out, self._keeper.kept, self._keeper.saved
        clauses = list(problem)
        if self._options.out is None:
            return ", and ".join([*clauses, "the model was not kept, as no out was given"])
        if kept is not None:
            clauses.append(f"{out} holds epoch {kept.epoch}")
        elif out.exists():
            clauses.append(f"{out} is unchanged")
        elif saved or film:
            clauses.append("there is no model yet")
        else:
            clauses.append("nothing was written")
        if film:
            clauses.append(f"{film.path} holds what was recorded")
        if can_resume and saved is not None:
            command = f"ae train --resume{self._outputs.arguments()}"
            is_here = saved == (self._run.state.epoch, self._run.state.step)
            where = "where it stopped" if is_here and not problem else self._describe_place(*saved)
            clauses.append(f"`{command}` continues {where}")
        return ", and ".join(filter(None, [", ".join(clauses[:-1]), clauses[-1]]))

    def _describe_place(self, epoch: int, step: int) -> str:
        """Describe a position in the run: within an epoch, or after one."""
        epochs = self._run.training.epochs
        if step or epoch == 1:
            return f"in epoch {epoch} of {epochs}, step {step:,} of {self._run.steps:,}"
        return f"after epoch {epoch - 1} of {epochs}"
