"""``ae train``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import HelpAllOption, JsonOption, QuietOption, expand, suggest_use
from ae_cli.config.training import TrainOptions
from ae_cli.files import shell_word
from ae_cli.results import count_epochs, format_shape

if TYPE_CHECKING:
    from pathlib import Path

    from ae_cli.config import TrainConfig
    from ae_cli.training.events import Begun, Trained, Written


PREVIEWED = 10  # images that are drawn in the terminal


@expand
def train(
    options: TrainOptions,
    quiet: QuietOption = False,
    json: JsonOption = False,
    help_all: HelpAllOption = False,  # which Typer handles
) -> None:
    """Train an autoencoder and write it to a checkpoint file.

    The model and the recipe are chosen for the images. On MNIST, they are the classic tutorial's:
    784-128-64-12-3 and back, tanh, Adam, mean squared error.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.training import outputs

    outputs.check(options)  # before torch, which takes a second or two to import

    from ae_cli.cli.screen import Screen
    from ae_cli.training.events import Begun, Epoch, Finished, Step, Trained
    from ae_cli.training.session import Session

    with Screen(reporter, options.log_every) as screen:
        session = Session(replace(options, progress=screen.progress))
        start = None
        try:
            with session:
                for event in session:
                    if isinstance(event, Begun):
                        _say_begun(event, reporter)
                        begun = event
                        screen.begin(event)
                    elif isinstance(event, (Step, Epoch)):
                        screen.step(event)
                        if isinstance(event, Epoch):
                            if event.epoch == 0:
                                start = event.test_error
                            reporter.emit("epoch", **event.as_json())
                        elif event.is_due(options.log_every):
                            reporter.emit("step", **event.as_json())
                    elif isinstance(event, Trained):
                        screen.end()
                        _say_trained(event, start, reporter, options.out, options.log)
                    elif isinstance(event, Finished):
                        screen.end()
                        if event.is_complete:
                            if reporter.draws:
                                shown = session.show(PREVIEWED)
                                reporter.preview(
                                    shown.originals,
                                    shown.pixels,
                                    what="test images, above their reconstructions",
                                    there=begun.data["test_images"],
                                )
                            use = suggest_use(
                                event.checkpoint,
                                latent_dim=begun.model["latent_dim"],
                                for_anomalies=begun.data["for_anomalies"],
                            )
                            reporter.say("next", use)
                        reporter.emit("end", **event.as_json())
                    else:
                        screen.end()
                        _say_written(event, reporter)
        finally:
            screen.end()
            for written in session.written:
                _say_written(written, reporter)
    session.linger()


def _say_begun(begun: Begun, reporter: Reporter) -> None:
    """Print the images and the model, and where a resumed run continues."""
    data, training = begun.data, begun.training
    chosen_on = data["val_images"]
    used = data["train_images"] + chosen_on
    images = f"{begun.there:,}" if used == begun.there else f"the first {used:,} of {begun.there:,}"
    held_out = "" if data["val_fraction"] is None else " (held out)"
    use = "are held out, for the threshold" if data["for_anomalies"] else "only choose an epoch"
    kept_back = f" ({chosen_on:,} of them {use})" if chosen_on else ""
    classes, selected = data["classes"], data["selected_classes"]
    labels = ", no labels" if classes is None else f", {len(classes)} classes"
    if selected is not None:
        labels = f", {len(selected)} of {len(classes)} classes"
    reporter.say(
        "data",
        f"{begun.name}: {images} training{kept_back} + {data['test_images']:,} test "
        f"images{held_out}, "
        f"{format_shape(data['shape'], data['changes'])}{labels}",
    )
    parameters = begun.model["parameters"]
    reporter.say("model", f"{begun.architecture}, {parameters:,} parameters, on {begun.device}")
    reporter.say("recipe", _describe_recipe(begun))
    if begun.resumed is not None:
        left = ""
        if begun.is_over:
            left = f"; nothing is left to do: --epochs {2 * training.epochs} would continue"
        elif begun.has_stopped_early:
            left = "; stopped early: a larger --patience would continue"
        reporter.say("resumed", f"{begun.place}{left}")
    reporter.emit("start", **begun.as_json())


def _describe_recipe(begun: Begun) -> str:
    """The recipe in one line, with what was chosen for the images."""
    training = begun.training
    text = (
        f"{training.preset}: {count_epochs(training.epochs)} of {begun.steps:,} steps, "
        f"{training.batch_size} images in each, lr {training.lr:g}"
    )
    if begun.objective != "mse":
        text += f", {begun.objective}"
    if training.augment:
        text += f", images varied by {_describe_variations(training)}"
    if training.keep == "best":
        chosen_on = "" if begun.data["val_images"] else ", chosen on the test images"
        text += f", keeps the best epoch{chosen_on}"
    return text


def _describe_variations(training: TrainConfig) -> str:
    """How the training images are varied, and until when."""
    from ae_cli.training.augment import last_epoch_of

    lasts = {kind: last_epoch_of(kind, training) for kind in training.augment}
    always = [kind for kind, last in lasts.items() if last == training.epochs]
    others = [f"{kind} until epoch {last}" for kind, last in lasts.items() if kind not in always]
    return ", and by ".join(" and ".join(kinds) for kinds in (always, others) if kinds)


def _say_trained(
    trained: Trained,
    start: float | None,
    reporter: Reporter,
    out: Path | str | None,
    log: Path | str | None,
) -> None:
    """Print the results of training; `start` is the error before it, if that is known."""
    from ae_cli.cli.console import report_warning

    reached, kept, best = trained.reached, trained.kept, trained.best
    reporter.say(
        "done",
        f"{count_epochs(reached.epoch)} in {reached.seconds:.1f} s of training: "
        f"{'the last has ' if reached != kept else ''}train loss {reached.train_loss:.4f}, test "
        f"loss {reached.test_loss:.4f}",
    )
    if trained.has_stopped_early:
        better = "" if kept == best else ", which --keep best would have kept"
        reporter.say(
            "stopped", f"no loss on held-out images was below that of epoch {best.epoch}{better}"
        )
    if trained.keeps_best:
        what = (
            "the start, PCA itself" if kept.epoch == 0 else f"epoch {kept.epoch} of {reached.epoch}"
        )
        on = "test loss" if kept.val_loss is None else "loss on held-out training images"
        reporter.say("kept", f"{what}, with the lowest {on}, {kept.choosing_loss:.4f}")
    compared = f"{_compare(kept.test_error, trained.pca_error)} PCA's {trained.pca_error:.4f}"
    if trained.keeps_best and kept.epoch == 0:
        compared = f"PCA's, with pixels limited to 0 and 1 (without: {trained.pca_error:.4f})"
    elif start is not None:
        compared += f"; before training, it was {start:.4f}"
    reporter.say(
        "quality",
        f"mean reconstruction error {kept.test_error:.4f} on the {trained.judged}, {compared}",
    )
    for problem in trained.problems:
        report_warning(problem)
    reporter.say("checkpoint", _name_both(out, trained.backup))
    if log is not None:
        reporter.say("log", _name_both(log, trained.log_backup))


def _compare(error: float, other: float) -> str:
    """How an error compares with another one."""
    share = error / other if other else 1.0
    if abs(1 - share) < 0.005:
        return "as much as"
    return f"{abs(1 - share):.0%} {'less' if share < 1 else 'more'} than"


def _say_written(written: Written, reporter: Reporter) -> None:
    what, path, note = written.what, written.path, written.note
    if what == "normal":  # a part of the checkpoint
        reporter.say(what, f"{path}: {note}")
    else:
        board = f"tensorboard --logdir {shell_word(path)}"
        reporter.say_written(what, path, board if what == "curves" else note)


def _name_both(path: Path | str | None, backup: Path | None) -> str:
    return f"{path}" + (f" (previous one: {backup})" if backup else "")
