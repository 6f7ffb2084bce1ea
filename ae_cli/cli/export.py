"""``ae export``."""

from __future__ import annotations

from ae_cli.cli.console import Reporter
from ae_cli.cli.options import CheckpointOption, JsonOption, QuietOption, expand
from ae_cli.config import CHECKPOINT, call_with
from ae_cli.config.export import ExportOptions
from ae_cli.files import shell_word

# How to load a file, by its kind
USES = {
    "ONNX": "in Python: onnxruntime.InferenceSession({!r})",
    "torch.export": "in Python: torch.export.load({!r}).module()",
    "state_dict": "in Python: torch.load({!r}, weights_only=True)",
}


@expand
def export(
    options: ExportOptions,
    checkpoint: CheckpointOption = CHECKPOINT,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Write the model for other programs: ONNX, torch.export, TensorBoard's Projector.

    What was exported is run, and compared with what torch computes, before it is written.
    """
    reporter = Reporter(quiet=quiet, json=json)
    from ae_cli.export import export

    with reporter.progress() as progress:
        made = call_with(export.export_model, checkpoint, options, progress=progress)
    for label, tensors in (("input", made.inputs), ("output", made.outputs)):
        for tensor in tensors:
            shape = ", ".join(map(str, tensor.shape))
            reporter.say(label, f"{tensor.name}: {tensor.dtype} ({shape})")
    if made.difference is not None:
        reporter.say("checked", f"differs from torch by {made.difference:.1e} at most")
    if made.cost is not None:
        reporter.say(
            "int8",
            f"mean reconstruction error {made.cost.after:.4f} rather than {made.cost.before:.4f}, "
            f"over {made.cost.images:,} images",
        )
    size = f"{made.bytes / 1e6:.1f} MB"
    if made.images is None:
        opset = "" if made.opset is None else f", opset {made.opset}"
        reporter.say_written("model", made.out, f"{made.kind}{opset}, {size}")
        use = USES[made.kind].format(str(made.out))
    else:
        reporter.say("folder", f"{made.out}: {made.images:,} images, {size}")
        use = f"tensorboard --logdir {shell_word(made.out)}"
    reporter.say("next", use)
    reporter.emit("result", **made.as_json())
