"""Log-probabilities that a policy gives to answers."""

import torch
from transformers import PreTrainedModel as Model

MAX_TOKENS = 8192  # of a batch: its logits take 5 GB for a 7B model


@torch.inference_mode()
def log_probabilities(
    model: Model, rows: list[tuple[list[int], list[int]]], pad: int, temperature: float = 1.0
) -> torch.Tensor:
    """The log-probability of each token of the answers, one after the other. `rows`: (prompt ids, answer ids)."""
    was_training = model.training
    model.eval()
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    size, values = max(1, MAX_TOKENS // width), []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        # Padded on the right: no token attends to later ones, so no mask is needed.
        ids = [prompt + answer + [pad] * (width - len(prompt) - len(answer)) for prompt, answer in batch]
        logits = model(input_ids=torch.tensor(ids, device=model.device)).logits
        for row, (prompt, answer) in zip(logits, batch, strict=True):
            predictions = row[len(prompt) - 1 : len(prompt) + len(answer) - 1].float() / temperature
            chosen = predictions.gather(1, torch.tensor(answer, device=row.device)[:, None])[:, 0]
            values.append(chosen - predictions.logsumexp(-1))
    model.train(was_training)
    return torch.cat(values).cpu()
