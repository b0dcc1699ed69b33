"""What is ours around TRL's SFTTrainer: the loss on a CPU, checkpoints that are whole, progress.

All of it works in one process and in each of several (`srlib.training.launched`). Used by
`srlib.training.finetune`:

    fit = on(lm)(model=…, args=…, callbacks=[bar("long-openo1"), keeper(minutes=5)])
    last_checkpoint(folder)      ->      (Path("…/checkpoint-40"), 1)      one torn one thrown away
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

from .. import store
from ..progress import progress
from . import collectives

SORTED = 8  # batches whose rows are sorted by length together


def on(lm):
    """TRL's trainer; on a CPU with the loss computed for the completion's tokens only.

    TRL computes it in float32 tiles made for a GPU, three fifths of a step's time on a CPU.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from transformers.trainer_pt_utils import LengthGroupedSampler
    from trl import SFTTrainer

    class ByLength(LengthGroupedSampler):
        """Draws an epoch's order from the seed and the epoch's number alone, so that an epoch that
        is resumed goes on as it was begun (it would be drawn anew, and rows come twice).

        Rows of a batch are about as long as each other, batches come in any order: sorted over
        much of the epoch, as transformers has it, the long rows of a mixture come in one block and
        the short ones in the next.
        """

        seed, epoch = 0, 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self):
            drawn = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
            order = torch.randperm(len(self.lengths), generator=drawn).tolist()
            some = self.batch_size * SORTED
            by_length = [
                row
                for at in range(0, len(order), some)
                for row in sorted(order[at : at + some], key=self.lengths.__getitem__, reverse=True)
            ]
            batches = range(0, len(order), self.batch_size)
            whole, rest = batches[: len(order) // self.batch_size], batches[-1:]
            mixed = [whole[i] for i in torch.randperm(len(whole), generator=drawn).tolist()]
            mixed += [at for at in rest if at not in whole]  # a batch that is not full comes last
            return iter([row for at in mixed for row in by_length[at : at + self.batch_size]])

    class Resumable(SFTTrainer):
        def _get_train_sampler(self, *args, **more):
            usual = super()._get_train_sampler(*args, **more)
            if not isinstance(usual, LengthGroupedSampler):
                return usual
            batch = usual.batch_size * self.args.world_size  # the same order in one process
            ours = ByLength(batch, lengths=usual.lengths)
            ours.seed = self.args.seed
            return ours

    config = lm.model.config.get_text_config()
    scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier")
    if lm.device != "cpu" or any(getattr(config, name, None) for name in scaled):
        return Resumable

    class OnCPU(Resumable):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs["labels"][:, 1:]
            whole = self.accelerator.unwrap_model(model)
            whole = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
            names = ("input_ids", "attention_mask", "position_ids")
            told = {k: v for k, v in inputs.items() if k in names} | {"use_cache": False}
            kept, processes = labels != -100, self.accelerator.num_processes
            if processes > 1:  # gradients meet only after a forward of the wrapped model
                columns = kept.any(0).nonzero()[:, 0]
                logits = model(**told, logits_to_keep=columns).logits[kept[:, columns]].float()
            else:
                states = whole.get_decoder()(**told).last_hidden_state
                logits = whole.get_output_embeddings()(states[:, :-1][kept]).float()
            total = cross_entropy(logits, labels[kept], reduction="sum")
            if num_items_in_batch is None:
                return total / kept.sum()
            return total * processes / num_items_in_batch  # gradients are averaged over processes

    return OnCPU


@contextmanager
def deterministic():
    """Train with deterministic kernels, where there are any: the same seed, the same adapter."""
    import torch

    # All that torch allocates would be filled with NaN first: a tenth of a step's time on a CPU.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def one_device(args):
    """One process trains on one device: TRL refuses the DataParallel of several in a process."""
    if args.n_gpu > 1:
        args._n_gpu = 1
    return args


def repeated(fit) -> int:
    """How many rows an epoch shows twice: processes have equally many, so its end is filled up."""
    together = fit.args.per_device_train_batch_size * fit.args.world_size
    return -len(fit.train_dataset) % together if fit.args.world_size > 1 else 0


def save(fit, folder: Path, dtype: str, sharded: bool) -> None:
    """Write what was trained as safetensors: of LoRA the adapter alone; with `dtype` all weights in
    that precision, and the tokenizer. Weights shared out among processes are gathered first."""
    import torch

    state = fit.accelerator.get_state_dict(fit.model_wrapped) if sharded else None
    if collectives.rank() == 0:
        whole = fit.accelerator.unwrap_model(fit.model)
        if dtype:
            fit.processing_class.save_pretrained(folder)
            to = getattr(torch, dtype)
            if sharded:
                state = {name: tensor.to(to) for name, tensor in state.items()}
            else:
                whole.to(to)
        whole.save_pretrained(folder, state_dict=state)
        if dtype and sharded:  # the model itself is still in float32
            config = store.read_json(folder / "config.json")
            store.write_json(folder / "config.json", config | {"dtype": dtype})
    collectives.wait()


def last_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """The last whole checkpoint, and how many torn ones were thrown away: those without a marker
    (the process was killed while it wrote) and those that cannot be read."""
    import torch
    from safetensors import SafetensorError, safe_open

    torn, whole = 0, []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            if not store.is_done(checkpoint):
                raise ValueError("no marker")
            for weights in checkpoint.glob("*.safetensors"):
                with safe_open(weights, "pt") as opened:
                    opened.keys()
            if not (checkpoint / "optimizer_0").is_dir():  # a sharded one has its marker alone
                torch.load(checkpoint / "optimizer.pt", map_location="meta", weights_only=True)
            whole.append(checkpoint)
        except (OSError, ValueError, RuntimeError, EOFError, SafetensorError):
            torn += 1
            shutil.rmtree(checkpoint)
    return max(whole, key=lambda c: int(c.name.rpartition("-")[2]), default=None), torn


def keeper(minutes: float):
    """A trainer callback that keeps a checkpoint every so many minutes and marks it as whole."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            self.last = time.time()

        def on_step_end(self, args, state, control, **_):
            due = time.time() - self.last >= 60 * minutes
            due = collectives.together(due)
            control.should_save = due and state.global_step < state.max_steps
            return control

        def on_save(self, args, state, control, **_):
            collectives.wait()  # each process writes a part
            if state.is_world_process_zero:
                store.mark_done(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            self.last = time.time()

    return Keeper()


def steps_of(share: float, steps: int) -> int:
    """Give how many of a training's steps a share of it is, 1 at least."""
    return max(1, round(share * steps))


def parts(fit, folders: dict[float, Path], sharded: bool):
    """Make a trainer callback that keeps the adapter after each of these shares of the steps, in
    its folder."""
    from transformers import TrainerCallback

    class Parts(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            for share, folder in folders.items():
                if state.global_step == steps_of(share, state.max_steps):
                    save(fit, folder, "", sharded)

    return Parts()


def bar(name: str):
    """A trainer callback that shows progress and time left the way generation does."""
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            if not state.is_world_process_zero:
                return
            self.bar = progress(state.max_steps, f"training {name}")
            self.bar.update(state.global_step)

        def on_step_end(self, args, state, control, **_):
            if state.is_world_process_zero:
                self.bar.update(1)

        def on_train_end(self, args, state, control, **_):
            if state.is_world_process_zero:
                self.bar.close()

    return Bar()
