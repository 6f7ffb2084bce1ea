"""``ae train``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import JsonOption, QuietOption, checkpoint_argument, expand
from ae_cli.config.training import TrainOptions
from ae_cli.files import shell_word
from ae_cli.results import format_shape

if TYPE_CHECKING:
    from pathlib import Path

    from ae_cli.training.events import Begun, Trained, Written


@expand
def train(options: TrainOptions, quiet: QuietOption = False, json: JsonOption = False) -> None:
    """Train an autoencoder and write it to a checkpoint file.

    The default is the tutorial's model: 784-128-64-12-3 and back, tanh, Adam, mean squared error.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.training import outputs

    outputs.check(options)  # before torch, which takes a second or two to import

    from ae_cli.cli.screen import Screen
    from ae_cli.training.events import Begun, Epoch, Finished, Step, Trained
    from ae_cli.training.session import Session

    with Screen(reporter, options.log_every) as screen:
        session = Session(replace(options, progress=screen.progress))
        try:
            with session:
                for event in session:
                    if isinstance(event, Begun):
                        _say_begun(event, reporter, is_auto=options.source == "auto")
                        screen.begin(event)
                    elif isinstance(event, (Step, Epoch)):
                        screen.step(event)
                        if isinstance(event, Epoch):
                            reporter.emit("epoch", **event.as_json())
                        elif event.is_due(options.log_every):
                            reporter.emit("step", **event.as_json())
                    elif isinstance(event, Trained):
                        screen.end()
                        _say_trained(event, reporter, options.out, options.log)
                    elif isinstance(event, Finished):
                        screen.end()
                        if event.is_complete:
                            argument = checkpoint_argument(event.checkpoint)
                            reporter.say("next", f"ae reconstruct --n 5{argument}")
                        reporter.emit("end", **event.as_json())
                    else:
                        screen.end()
                        _say_written(event, reporter)
        finally:
            screen.end()
            for written in session.written:
                _say_written(written, reporter)
    session.linger()


def _say_begun(begun: Begun, reporter: Reporter, *, is_auto: bool) -> None:
    """Print the images and the model, and where a resumed run continues."""
    data, training = begun.data, begun.training
    if is_auto and data["source"] == "digits" and begun.resumed is None:
        reporter.say("hint", "for so few images, --epochs 50 --activation silu works better")
    used = data["train_images"]
    images = f"{begun.there:,}" if used == begun.there else f"the first {used:,} of {begun.there:,}"
    held_out = "" if data["val_fraction"] is None else " (held out)"
    classes, selected = data["classes"], data["selected_classes"]
    labels = ", no labels" if classes is None else f", {len(classes)} classes"
    if selected is not None:
        labels = f", {len(selected)} of {len(classes)} classes"
    reporter.say(
        "data",
        f"{begun.name}: {images} training + {data['test_images']:,} test images{held_out}, "
        f"{format_shape(data['shape'], data['changes'])}{labels}",
    )
    parameters = begun.model["parameters"]
    reporter.say("model", f"{begun.architecture}, {parameters:,} parameters, on {begun.device}")
    if begun.resumed is not None:
        left = ""
        if begun.is_over:
            left = f"; nothing is left to do: --epochs {2 * training.epochs} would continue"
        elif begun.has_stopped_early:
            left = "; stopped early: a larger --patience would continue"
        reporter.say("resumed", f"{begun.place}{left}")
    reporter.emit("start", **begun.as_json())


def _say_trained(
    trained: Trained, reporter: Reporter, out: Path | str | None, log: Path | str | None
) -> None:
    """Print the results of training."""
    from ae_cli.cli.console import report_warning

    reached, kept, best = trained.reached, trained.kept, trained.best
    reporter.say(
        "done",
        f"{reached.epoch} epoch{'s' * (reached.epoch > 1)} in {reached.seconds:.1f} s of "
        f"training: train loss {reached.train_loss:.4f}, test loss {reached.test_loss:.4f}",
    )
    if trained.has_stopped_early:
        better = "" if kept == best else ", which --keep best would have kept"
        reporter.say("stopped", f"no test loss was below that of epoch {best.epoch}{better}")
    if trained.keeps_best:
        reporter.say("kept", f"epoch {kept.epoch}, with the lowest test loss, {kept.test_loss:.4f}")
    if trained.has_collapsed:
        report_warning(
            "the model reconstructs images no better than their mean would; "
            "try another --seed, more --epochs or --activation silu"
        )
    reporter.say("checkpoint", _name_both(out, trained.backup))
    if log is not None:
        reporter.say("log", _name_both(log, trained.log_backup))


def _say_written(written: Written, reporter: Reporter) -> None:
    note = written.note
    if written.what == "curves":
        note = f"tensorboard --logdir {shell_word(written.path)}"
    reporter.say(written.what, f"{written.path}: {note}")


def _name_both(path: Path | str | None, backup: Path | None) -> str:
    return f"{path}" + (f" (previous one: {backup})" if backup else "")
