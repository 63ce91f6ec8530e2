"""The settings of `conf/optimizer/*.yaml` and of the `train` section in `conf/config.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field

from basecaller.common.errors import SettingError
from basecaller.training.batch_plan import check_schedule

OPTIMIZERS = ("adam", "adamax", "adagrad", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16")
NATIVE = ("auto", "on", "off")
BUDGETS = ("epochs", "updates", "samples")


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of `torch.optim`; all other arguments keep PyTorch's defaults.

    Attributes:
        name: Name of the optimizer. Set by `optimizer=...`.
        lr: Learning rate.
        weight_decay: Decoupled weight decay: each update first shrinks all weights by the learning rate times this value.
        momentum: Momentum of `sgd`; the other optimizers ignore it.
    """

    name: str = field(metadata={"choices": OPTIMIZERS})
    lr: float = field(metadata={"above": 0})
    weight_decay: float = field(metadata={"least": 0})
    momentum: float = field(metadata={"least": 0, "below": 1})


@dataclass(frozen=True)
class Train:
    """Length and settings of a training.

    Attributes:
        budget: Unit of the length of a training, which is equal for all trials; the key of that name gives the length.
        epochs: Length with `train.budget=epochs`: number of passes over the training chunks.
        updates: Length with `train.budget=updates`: number of updates of the optimizer.
        samples: Length with `train.budget=samples`: number of signal samples; the update that reaches it is the last.
        chunks: Number of chunks to train on, drawn from the training split by the seed. null: all.
        validation_chunks: Number of chunks to validate on, drawn from the validation split by the seed. null: all.
        validations: Number of points of the learning curve per epoch, or in the whole training if `train.budget` is not
            `epochs`.
        batch_schedule: Batch sizes that follow each other, each for an equal share of the epochs, as in [32,8,1]; a size n
            trains at `optimizer.lr` times the square root of n over `data.batch_size`. null: all batches have
            `data.batch_size` chunks.
        clip: Largest norm of the gradient; a larger gradient is scaled down. null: no clipping.
        clip_factor: Largest norm of the gradient, as a multiple of the median of the last 100 norms, from the 51st update on.
            null: no such clipping.
        schedule: Schedule of the learning rate. `cosine` falls to 0 at the last update (Loshchilov & Hutter, 2017).
        warmup: Share of all updates in which the learning rate rises linearly from 0.
        warmup_updates: Number of updates in which the learning rate rises, instead of `train.warmup`. null: as `train.warmup`
            says.
        label_smoothing: Weight of label smoothing in the training loss: 0 is none, 1 Bonito's. Only PyTorch computes it, not
            native code.
        precision: Precision of matrix products; the loss is always float32. `auto` uses bfloat16 if it is faster.
        native: Whether to compute in native code. `auto`: if there is a C compiler and the processor allows it. `on`: always,
            or fail.
        infeasible: Largest share of chunks that may be skipped because CTC cannot align them.
        resume: Continue from the last checkpoint in the run's folder. false: begin again.
        init: Checkpoint (best.pt) to start from instead of random weights; its network must have the same shape. null: none.
        init_digest: Digest of that file; computed.
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
    clip_factor: float | None = field(metadata={"above": 0})
    schedule: str = field(metadata={"choices": SCHEDULES})
    warmup: float = field(metadata={"least": 0, "below": 1})
    warmup_updates: int | None = field(metadata={"least": 0})
    label_smoothing: float = field(metadata={"least": 0})
    precision: str = field(metadata={"choices": PRECISIONS})
    native: str = field(metadata={"choices": NATIVE})
    infeasible: float = field(metadata={"least": 0, "below": 1})
    resume: bool
    init: str | None = None
    init_digest: str | None = None

    def check_keys(self, where: str) -> None:
        """Checks that batches can follow `batch_schedule`."""
        if wrong := check_schedule(self.batch_schedule, self.budget):
            raise SettingError(f"{where}.batch_schedule={list(self.batch_schedule or ())}: {wrong}")
