"""What the model answers when parts of the images are taken away: many masks an image, many images a forward pass."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

Masks = Callable[[slice], Tensor]
"""Which masks -> (N, m, H, W), or (1, m, H, W) for all images: 1 or True keeps the pixel, 0 takes it away."""


class Masked:
    """Images of which parts are taken away.

    Args:
        model: In eval mode.
        inputs: (N, C, H, W) images.
        baselines: What replaces a pixel that is taken away; of a shape that goes with the inputs'.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, baselines: Tensor) -> None:
        self._model = model
        self._inputs = inputs.detach()[:, None]
        self._baselines = baselines.detach().expand(inputs.shape)[:, None]
        self.n_images = 512 if inputs.is_cuda else 32
        """At most so many images a forward pass (but one mask of every image at least)."""

    def answers(self, masks: Masks, n_masks: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For the masks in turn, as many as memory takes: (N or 1, m, H, W) masks and (N, m, K) logits.

        Costs N · n_masks images forwarded. Where memory runs out, half as many are tried, down to one mask.
        """
        n_inputs, first = len(self._inputs), 0
        step = max(1, self.n_images // n_inputs)
        while first < n_masks:
            try:
                chunk = masks(slice(first, min(first + step, n_masks)))
                logits = self._logits(chunk)
            except torch.OutOfMemoryError:
                if step == 1:
                    raise
                step //= 2
                continue
            yield chunk, logits
            first += chunk.shape[1]

    def logits(self, masks: Masks, n_masks: int) -> Tensor:
        """(N, n_masks, K) logits."""
        return torch.cat([logits for _, logits in self.answers(masks, n_masks)], dim=1)

    def _logits(self, masks: Tensor) -> Tensor:
        kept = masks[:, :, None]
        if masks.dtype == torch.bool:
            images = torch.where(kept, self._inputs, self._baselines)
        else:
            images = torch.lerp(self._baselines, self._inputs, kept)
        with torch.no_grad():
            logits: Tensor = self._model(images.flatten(0, 1))
        return logits.view(*images.shape[:2], -1)


def at(logits: Tensor, targets: Tensor) -> Tensor:
    """(N, m) logits of the targets, of (N, m, K) logits."""
    return logits[torch.arange(len(targets), device=targets.device), :, targets]
