"""The human ceiling: a second reader of the images, whose masks are judged as if they were heat maps."""

from torch import Tensor, nn

from .base import Explainer, InapplicableError


class SecondReader(Explainer):
    """Says of an image what a second reader has marked: 1 there, 0 elsewhere.

    No entry, since only the data know it: the bench takes the masks from the samples and judges them by the metrics of
    localization, against the first reader's masks. What two people agree on is what an explainer may hope for.
    """

    def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        raise InapplicableError("a reader has read the images of the data set, and no others")
