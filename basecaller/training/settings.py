"""What `conf/optimizer/*.yaml` and the `train` section of `conf/config.yaml` set."""

from __future__ import annotations

from dataclasses import dataclass, field

OPTIMIZERS = ("adam", "adamax", "adagrad", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16")
NATIVE = ("auto", "on", "off")
BUDGETS = ("epochs", "updates", "samples")


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of `torch.optim`; what is not named here keeps PyTorch's default.

    Attributes:
        name: which one.
        lr: learning rate.
        weight_decay: by which, times the rate, all weights shrink before an update.
        momentum: used by sgd only.
    """

    name: str = field(metadata={"choices": OPTIMIZERS})
    lr: float = field(metadata={"above": 0})
    weight_decay: float = field(metadata={"least": 0})
    momentum: float = field(metadata={"least": 0, "below": 1})


@dataclass(frozen=True)
class Train:
    """How long and how to train.

    Attributes:
        budget: which of the next three says how long: `epochs`, `updates` or `samples`. Trials of other batch sizes have
            equal epochs or samples, or equal updates, never both.
        epochs: passes over the training chunks.
        updates: of the optimizer.
        samples: of signal; the update that reaches it is the last.
        chunks: train on so many chunks of the training split, drawn by the seed; null takes all.
        validation_chunks: likewise for validation.
        validations: points of the learning curve in each epoch; in the whole training where the budget is another.
        batch_schedule: batch sizes that follow each other, each for an equal share of the epochs, as [32,8,1]; null: all
            batches have `data.batch_size` chunks. `optimizer.lr` is the rate of that size either way.
        clip: largest norm of the gradient; null clips nothing.
        schedule: of the learning rate: `constant`, or `cosine` down to 0 at the last update (Loshchilov & Hutter, 2017).
        warmup: share of all updates in which the rate rises linearly from 0.
        precision: of matrix products; the loss is always float32. `auto` takes bfloat16 where the hardware has it.
        native: compute in native code: `auto` where a C compiler and the processor allow it, `on` or fail, or `off`.
        infeasible: largest share of chunks that may be left out because their target is longer than the output.
        resume: go on from the last checkpoint in the run's folder; off, begin again.
        init: a checkpoint to start from instead of random weights; null: none.
        init_digest: of that file; made from it.
    """

    budget: str = field(metadata={"choices": BUDGETS})
    epochs: int = field(metadata={"least": 1})
    updates: int = field(metadata={"least": 1})
    samples: int = field(metadata={"least": 1})
    chunks: int | None = field(metadata={"least": 1})
    validation_chunks: int | None = field(metadata={"least": 1})
    validations: int = field(metadata={"least": 1})
    batch_schedule: tuple[int, ...] | None
    clip: float | None = field(metadata={"above": 0})
    schedule: str = field(metadata={"choices": SCHEDULES})
    warmup: float = field(metadata={"least": 0, "below": 1})
    precision: str = field(metadata={"choices": PRECISIONS})
    native: str = field(metadata={"choices": NATIVE})
    infeasible: float = field(metadata={"least": 0, "below": 1})
    resume: bool
    init: str | None = None
    init_digest: str | None = None
