"""Progress of a training: about ten quiet lines, which read as well in an executed notebook as on a terminal.

The Trainer's own bars freeze in an executed notebook, and its printed dicts bury the figures.
"""

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

LINES = 10


def report_quietly(trainer: Trainer, keys: tuple[str, ...]) -> None:
    """Has `trainer` print its step and the logged figures `keys`, LINES times in a training."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Lines(keys))


class _Lines(TrainerCallback):
    def __init__(self, keys: tuple[str, ...]):
        self.keys = keys
        self.latest = 0

    def on_log(self, args, state, control, logs=None, **_):
        tenth = state.global_step * LINES // state.max_steps
        if tenth > self.latest and all(key in logs for key in self.keys):
            self.latest = tenth
            figures = ", ".join(f"{key} {float(logs[key]):.3f}" for key in self.keys)
            print(f"step {state.global_step} of {state.max_steps}: {figures}", flush=True)
