"""Trainers that read the prompt of a group once, with the log-probabilities and gradients of TRL's own pass.

TRL reads G (P + R) tokens for a group of G completions of length R after a prompt of length P. Here a packed row holds
the prompt and then its completions, P + G R tokens (Prefix Grouper, arXiv 2506.05433):

    tokens     p1 p2 | p3 a1 a2 | p3 b1 b2 b3      Each completion begins with the prompt's last token, which predicts
    labels           | a1 a2 a3 | b1 b2 b3 b4      its first one. A token attends to the prompt and to its own
    positions   0  1 |  2  3  4 |  2  3  4  5      completion only, and has the position that it has without the others.

1. Only `_get_per_token_logps_and_entropies` is replaced, so that loss, importance sampling and KL remain TRL's.
2. The first pass with and the first without gradients are compared with TRL's. If they differ, as with a model that
   ignores the mask, the training prints by how much, keeps TRL's pass and logs `shared_prefix` 0 instead of 1.
3. Completions of a prompt stay in the same micro-batches. Only the order within an update changes.
4. Logits are computed for completions only, on CPUs too; TRL does that on GPUs only.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import DistributedType
from trl import GRPOTrainer
from trl.trainer import utils

# Largest accepted difference of log-probabilities (and entropies) and of gradients, relative to their norm. Rounding
# alone makes 2e-5 with the 30 layers of smollm135m in float32; wrong masks and positions make 0.1 and more. In half
# precision single tokens differ much more between two ways to compute the same, so that the mean is compared.
TOLERANCE, HALF_PRECISION = (5e-5, 1e-4), (0.01, 0.2)
TRL_UTILS: Any = utils
WHOLE_WEIGHTS = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)  # in each process


class SharedPrefix:
    """Packed passes for TRL's GRPOTrainer and RLOOTrainer, whose passes are the same: a base class before theirs.
    `shared_prefix` is False if the training keeps TRL's pass."""

    model: Any
    args: Any
    accelerator: Any
    _buffered_inputs: Any
    _metrics: Any
    _step: int
    shared_prefix = True

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._compared: set[bool] = set()  # passes with gradients, without
        config = self.model.config.get_text_config()
        layers = set(getattr(config, "layer_types", None) or ["full_attention"])
        if config._attn_implementation != "sdpa" or layers != {"full_attention"}:
            self._keep_usual_pass(f"needs sdpa and full attention, not {config._attn_implementation} and {layers}")

    def _prepare_inputs(self, inputs):
        trl: Any = super()
        before, inputs = self._buffered_inputs, trl._prepare_inputs(inputs)
        if (batches := self._buffered_inputs) is before or not self.shared_prefix:
            return inputs
        size = math.gcd(self.args.steps_per_generation, self.args.gradient_accumulation_steps)  # one update, or a part
        for start in range(0, len(batches), size):
            batches[start : start + size] = by_prompt(batches[start : start + size])
        return batches[self._step % len(batches)]

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **others
    ):
        batch = (input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy)
        trl: Any = super()
        usual = trl._get_per_token_logps_and_entropies
        with_gradients = torch.is_grad_enabled()
        if extra := [name for name, value in others.items() if value is not None and value is not False]:
            self._keep_usual_pass(f"does not support {', '.join(extra)}")
        elif self.shared_prefix and with_gradients not in self._compared:
            self._compared.add(with_gradients)
            self._compare(usual, model, batch)
        if with_gradients:
            self._metrics["train" if self.model.training else "eval"]["shared_prefix"].append(float(self.shared_prefix))
        return self._read(model, *batch) if self.shared_prefix else usual(model, *batch, **others)

    def _read(self, model: Any, input_ids, attention_mask, keep: int, batch_size: int | None, compute_entropy: bool):
        size, width = batch_size or len(input_ids), self.model.config.get_text_config().hidden_size
        parts = []
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            inputs = pack(ids, mask, keep, width)
            places, labelled = inputs.pop("places"), inputs["shift_labels"] != -100
            with self.accelerator.autocast(), _logits_of_labels_only():
                outputs = model(**inputs, fused_lm_head=True)
            for values in (outputs.log_probs, outputs.entropy) if compute_entropy else (outputs.log_probs,):
                flat = values.new_zeros(ids.shape[0] * keep)
                parts.append(flat.index_put((places[labelled],), values[labelled]).view(-1, keep))
        if compute_entropy:
            return torch.cat(parts[::2]), torch.cat(parts[1::2]), None
        return torch.cat(parts), None, None

    def _compare(self, usual: Callable, model: Any, batch: tuple) -> None:
        """Keeps TRL's pass from now on if the packed pass differs from it on this batch, in any process."""
        accelerator, completions = self.accelerator, batch[1][:, -batch[2] :].bool()
        # Sharded weights exist only inside of a training step: there, log-probabilities alone are compared.
        with_gradients = torch.is_grad_enabled() and accelerator.distributed_type in WHOLE_WEIGHTS
        model = accelerator.unwrap_model(model) if with_gradients else model  # DDP wants a backward for each forward
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        found = []
        with _no_dropout(model), torch.set_grad_enabled(with_gradients):
            for read in (usual, self._read):
                outputs = torch.stack(
                    [values[completions].float() for values in read(model, *batch) if values is not None]
                )
                total = (outputs[0] * torch.linspace(-1, 1, len(outputs[0]), device=outputs.device)).mean()
                gradients = torch.autograd.grad(total, weights, allow_unused=True) if with_gradients else ()
                found.append((outputs.detach(), [grad.float() for grad in gradients if grad is not None]))
        (outputs, gradients), (packed_outputs, packed_gradients) = found
        half = accelerator.mixed_precision != "no" or self.model.dtype != torch.float32
        difference = (packed_outputs - outputs).abs() / (1 + outputs.abs())
        by = (difference.mean() if half else difference.max()).item() if completions.any() else 0.0
        changes = [b - a for a, b in zip(gradients, packed_gradients, strict=True)]
        gradients_by = _norm(changes) / max(_norm(gradients), 1e-12)
        most, gradients_most = HALF_PRECISION if half else TOLERANCE
        agrees = torch.tensor([by <= most and gradients_by <= gradients_most], device=completions.device)
        if not accelerator.gather(agrees).all():
            self._keep_usual_pass(
                f"differs: log-probabilities by {by:.1e} (limit {most:g}), gradients by {gradients_by:.1e} (limit "
                f"{gradients_most:g})"
            )

    def _keep_usual_pass(self, reason: str) -> None:
        if self.shared_prefix and self.accelerator.is_main_process:
            print(
                f"prompts are read once per completion, by TRL's pass: the pass that shares them {reason}", flush=True
            )
        self.shared_prefix = False


class SharedPrefixTrainer(SharedPrefix, GRPOTrainer):
    """TRL's GRPO with packed passes."""


def by_prompt(batches: list[dict[str, torch.Tensor]]) -> list[dict[str, torch.Tensor]]:
    """Micro-batches of the same sizes in which completions of a prompt are neighbours."""
    if len(batches) == 1:
        return batches
    sizes = [len(batch["prompt_ids"]) for batch in batches]
    _, prompts = torch.cat([batch["prompt_ids"] for batch in batches]).unique(dim=0, return_inverse=True)
    order = prompts.argsort(stable=True)
    parts = {
        name: torch.cat([batch[name] for batch in batches])[order].split(sizes) if first.ndim else [first] * len(sizes)
        for name, first in batches[0].items()
    }
    return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor, keep: int, width: int) -> dict[str, torch.Tensor]:
    """Packs a padded batch, of which the last `keep` columns are completions, into rows that hold each prompt once.

    Returns tensors of shape (rows, tokens): `input_ids`, `position_ids`, `shift_labels` (-100 in prompts and padding),
    `places` (of each label in the flattened completions) and `attention_mask` (rows, 1, tokens, tokens). `width`: of
    the hidden states. Attention over a row of n tokens costs n / (6 width) of its matrix products, so that each of k
    completions in a row costs (P + kR)(1 + (P + kR) / (6 width)) / k, which is least at k = sqrt(P (P + 6 width)) / R.
    """
    groups = defaultdict(list)  # prompt -> its completions, each with its place
    for row, (ids, real) in enumerate(zip(input_ids.tolist(), attention_mask.tolist(), strict=True)):
        prompt = tuple(token for token, kept in zip(ids[:-keep], real, strict=False) if kept)
        groups[prompt].append((row * keep, ids[-keep:][: sum(real[-keep:])]))  # nothing if it is excluded as truncated
    bundles: list[list[tuple]] = []
    for prompt, completions in groups.items():
        mean = sum(len(ids) for _, ids in completions) / len(completions)
        parts = max(1, round(len(completions) * mean / math.sqrt(len(prompt) * (len(prompt) + 6 * width))))
        bundles += [_bundle(prompt, completions[part::parts], len(bundles) + part) for part in range(parts)]
    bundles.sort(key=len, reverse=True)
    rows: list[list[tuple]] = [[] for _ in range(sum(map(len, bundles)) // len(bundles[0]))]
    for bundle in bundles:  # the longest first, each into the row that is the shortest so far
        min(rows, key=len).extend(bundle)
    padding = (0, 0, -100, -1, 0, 0)
    longest = max(map(len, rows))
    padded = [row + [padding] * (longest - len(row)) for row in rows]
    ids, positions, labels, bundle, completion, places = torch.tensor(padded, device=input_ids.device).unbind(-1)
    visible = (completion[:, None] == 0) | (completion[:, None] == completion[..., None])
    visible &= bundle[:, None] == bundle[..., None]
    return {
        "input_ids": ids,
        "position_ids": positions,
        "shift_labels": labels,
        "places": places,
        "attention_mask": visible.tril()[:, None],
    }


def _bundle(prompt: tuple[int, ...], completions: list[tuple[int, list[int]]], number: int) -> list[tuple]:
    """Returns token, position, label, bundle, completion and place of the label of each token."""
    tokens = [(token, position, -100, number, 0, 0) for position, token in enumerate(prompt[:-1])]
    for completion, (place, ids) in enumerate(completions, start=1):
        for at, (token, label) in enumerate(zip((prompt[-1], *ids), ids, strict=False)):
            tokens.append((token, len(prompt) - 1 + at, label, number, completion, place + at))
    return tokens


def _norm(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(tensor.square().sum().item() for tensor in tensors))


@contextmanager
def _logits_of_labels_only() -> Generator[None]:
    """Lets TRL's fused head skip positions without a label. Its kernels do not read the name that is replaced."""
    before, TRL_UTILS._use_triton = TRL_UTILS._use_triton, lambda device: True
    try:
        yield
    finally:
        TRL_UTILS._use_triton = before


@contextmanager
def _no_dropout(model: torch.nn.Module) -> Generator[None]:
    dropouts = [module for module in model.modules() if isinstance(module, torch.nn.Dropout) and module.training]
    for module in dropouts:
        module.eval()
    try:
        yield
    finally:
        for module in dropouts:
            module.train()
