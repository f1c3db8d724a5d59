"""Multinomial logistic regression on pixels: the classifier that publications on private generators report first."""

import torch
import torch.nn.functional as F
from torch import Tensor

ITERATIONS = 100
_AT_ONCE = 5000  # images


def logistic_accuracy(
    images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor, num_classes: int, penalty: float = 1.0
) -> float:
    """Returns the accuracy in [0, 1], on test images, of a logistic regression fitted to ``images``.

    It minimises sum_i -log p(y_i | x_i) + ``penalty`` |W|^2 / 2 over pixels in [0, 1], the intercepts being free, by
    at most 100 iterations of L-BFGS (Liu, Nocedal 1989) from zero: scikit-learn's ``LogisticRegression``, with its
    defaults. So nothing is drawn.

    Args:
        images: uint8 (N, C, H, W), on the device where to fit; at least one.
        labels: int64 (N,) in [0, num_classes).
        test_images: uint8 (M, C, H, W).
        test_labels: int64 (M,).
        num_classes: How many classes there are.
        penalty: Of the squared weights.
    """
    from torch.optim.lbfgs import LBFGS  # takes a third of a second to import

    weights = torch.zeros(num_classes, images[0].numel(), device=images.device)
    intercepts = torch.zeros(num_classes, device=images.device)
    fitted = [weights.requires_grad_(), intercepts.requires_grad_()]
    batches = list(zip(torch.split(images, _AT_ONCE), torch.split(labels, _AT_ONCE), strict=True))

    def loss() -> Tensor:
        total = 0.5 * penalty / len(images) * weights.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        for some, own in batches:
            part = F.cross_entropy(F.linear(_pixels(some), weights, intercepts), own, reduction="sum") / len(images)
            part.backward()  # type: ignore[no-untyped-call]
            total = total.detach() + part.detach()
        return total

    def closure() -> Tensor:
        weights.grad = intercepts.grad = None
        return loss()

    solver = LBFGS(fitted, max_iter=ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe")
    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        hits = [
            (F.linear(_pixels(some.to(images.device)), weights, intercepts).argmax(1) == own.to(images.device)).sum()
            for some, own in zip(torch.split(test_images, _AT_ONCE), torch.split(test_labels, _AT_ONCE), strict=True)
        ]
    return float(torch.stack(hits).sum()) / len(test_images)


def _pixels(images: Tensor) -> Tensor:
    """Returns pixels (B, C H W) in [0, 1] of images uint8 (B, C, H, W)."""
    return images.flatten(1).float() / 255
