"""Radiographs distorted at random, in place and in tone, so widely that real ones are one more distortion of phantoms.

No phantom looks like a radiograph in all that a network can learn from. So nothing is left constant but what a lung is
(domain randomization [1]): two fields, mostly darker than what is about them, in a chest of any size, place,
proportion and bend; hazy or partly opaque; exposed, sharpened, lit and printed on in any way; cut off or framed.

Images and masks are (N, 1, S, S) float32 in [0, 1], everything random is drawn from the generator.

[1] Tobin et al., Domain randomization for transferring deep neural networks from simulation to the real world, IROS
2017.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional


def distorted(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """The images and their masks, distorted: another chest, taken by another machine."""
    images, masks = _moved(images, masks, generator)
    images = _clouded(images, masks, generator)
    images = _filled(images, masks, generator)
    images = _blotched(images, masks, generator)
    images = _sharpened(images, generator)
    images = _toned(images, generator)
    images = _printed_on(images, generator)
    return _recorded(images, generator), masks


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """(count, 1, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)


def _sometimes(count: int, probability: float, generator: Generator) -> Tensor:
    """(count, 1, 1, 1) of 0 and 1."""
    return (torch.rand(count, 1, 1, 1, generator=generator) < probability).float()


def _smooth(count: int, channels: int, cells: int, side: int, generator: Generator) -> Tensor:
    """(count, channels, side, side): hills about 1 / cells of the side wide, of deviation about 1."""
    coarse = torch.randn(count, channels, cells + 1, cells + 1, generator=generator)
    return 1.4 * functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)


def _moved(images: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Turned, stretched, sheared, shifted and bent; beside the image its border goes on, or one colour begins."""
    count, side = len(images), images.shape[-1]

    def drawn(low: float, high: float) -> Tensor:
        return _uniform(count, low, high, generator)[:, 0, 0, 0]

    zoom, proportion = drawn(math.log(0.72), math.log(1.7)).exp(), drawn(-0.25, 0.25).exp()
    angle, shear = 0.12 * torch.randn(count, generator=generator), drawn(-0.12, 0.12)
    mirror = 1 - 2 * _sometimes(count, 0.2, generator)[:, 0, 0, 0]
    cos, sin = angle.cos(), angle.sin()
    across = torch.stack([mirror * zoom * proportion * cos, shear - zoom * sin, drawn(-0.25, 0.25)], 1)
    along = torch.stack([mirror * zoom * proportion * sin, zoom / proportion * cos, drawn(-0.3, 0.3)], 1)
    grid = functional.affine_grid(torch.stack([across, along], 1), list(images.shape), align_corners=False)
    bend = drawn(0, 0.05)[:, None, None, None] * _smooth(count, 2, 4, side, generator)
    grid = grid + bend.permute(0, 2, 3, 1)
    beyond = (grid.abs() > 1).any(3)[:, None]
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    colour = torch.where(_sometimes(count, 0.7, generator) > 0, 0.0, _uniform(count, 0, 1, generator))
    framed = beyond & (_sometimes(count, 0.5, generator) > 0)
    return torch.where(framed, colour, moved), functional.grid_sample(masks, grid, align_corners=False).round()


def _clouded(images: Tensor, masks: Tensor, generator: Generator) -> Tensor:
    """Lungs nearly as bright as what is about them, evenly or in clouds; in part as bright, where they are opaque."""
    count, side = len(images), images.shape[-1]
    soft = functional.avg_pool2d(masks, 5, 1, 2, count_include_pad=False)
    level = images.flatten(1).quantile(_uniform(1, 0.6, 0.9, generator).item(), 1)[:, None, None, None]
    haze = _uniform(count, 0, 0.75, generator) * _sometimes(count, 0.6, generator)
    clouds = (_smooth(count, 1, 4, side, generator) - _uniform(count, 0, 2, generator)).clamp(0, 1)
    clouds = clouds * _uniform(count, 0.3, 1, generator) * _sometimes(count, 0.6, generator)
    return images + soft * torch.maximum(haze, clouds) * (level - images)


def _filled(images: Tensor, masks: Tensor, generator: Generator) -> Tensor:
    """Tissue where the phantom has none: shoulders, raised arms and a neck fill the frame, striped by bones or not."""
    count, side = len(images), images.shape[-1]
    outside = 1 - functional.avg_pool2d(masks, 5, 1, 2, count_include_pad=False)
    level = images.flatten(1).quantile(0.8, 1)[:, None, None, None] * _uniform(count, 0.3, 1, generator)
    tissue = level * (1 + _uniform(count, 0, 0.3, generator) * _smooth(count, 1, 3, side, generator))
    waves = _uniform(count, 4, 16, generator) * _smooth(count, 1, 2, side, generator)
    tissue = tissue * (1 + _uniform(count, 0, 0.25, generator) * waves.sin())
    chosen = _sometimes(count, 0.5, generator)
    return images + chosen * outside * (torch.maximum(images, tissue) - images)


def _blotched(images: Tensor, masks: Tensor, generator: Generator) -> Tensor:
    """Bright and dark ellipses outside the lungs (bowel gas, arms, air beside the body), faint ones anywhere."""
    count, side = len(images), images.shape[-1]
    ticks = torch.linspace(-1, 1, side)
    outside = 1 - functional.avg_pool2d(masks, 5, 1, 2, count_include_pad=False)
    for number in range(8):
        x, y = (_uniform(count, -1.1, 1.1, generator) for _ in range(2))
        if number > 4:  # above the lungs: the pits beside the neck are dark
            y = _uniform(count, -1.1, -0.3, generator)
        wide, high = (_uniform(count, -3, 0, generator).exp() for _ in range(2))
        turn = _uniform(count, 0, 3.2, generator)
        right, down = ticks[None, None, None] - x, ticks[None, None, :, None] - y
        u, v = turn.cos() * right + turn.sin() * down, turn.cos() * down - turn.sin() * right
        edge = _uniform(count, 0.05, 0.6, generator)
        blotch = ((1 - torch.hypot(u / wide, v / high)) / edge + 0.5).clamp(0, 1)
        strength = _uniform(count, -0.5, 0.5, generator) * _sometimes(count, 0.6, generator)
        images = images + strength * blotch * (outside if number else 0.3)
    return images


def _sharpened(images: Tensor, generator: Generator) -> Tensor:
    """What is fine (ribs, vessels, noise) stronger or weaker, at two widths."""
    for width in (7, 25):
        coarse = functional.avg_pool2d(images, width, 1, width // 2, count_include_pad=False)
        amount = _uniform(len(images), -1.2, 0.9, generator).exp()
        images = coarse + amount * (images - coarse)
    return images


def _toned(images: Tensor, generator: Generator) -> Tensor:
    """Lit unevenly, then under another curve of tones: brightness, contrast, gamma, black and white cut off."""
    count, side = len(images), images.shape[-1]
    light = _smooth(count, 1, 3, side, generator)
    images = images + _uniform(count, 0, 0.1, generator) * light
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    images = (images - low) / (high - low + 1e-3)
    images = images.clamp(0, 1) ** _uniform(count, -0.9, 0.7, generator).exp()
    black, white = _uniform(count, -0.15, 0.25, generator), _uniform(count, 0.65, 1.3, generator)
    return ((images - black) / (white - black)).clamp(0, 1)


def _printed_on(images: Tensor, generator: Generator) -> Tensor:
    """Bars at the edges, print, tubes, cut-outs: up to six rectangles of any brightness, one or two at an edge."""
    images = images.clone()
    side = images.shape[-1]
    for image in images:
        for _ in range(int(torch.randint(7, (), generator=generator))):
            left, top, wide, high, colour, kind = torch.rand(6, generator=generator).tolist()
            if kind < 0.25:  # a bar at an edge
                depth = 1 + round(0.12 * side * wide)
                edge = image.rot90(int(4 * left), (1, 2))
                edge[:, :depth] = 0 if high < 0.6 else colour
                continue
            size = 0.03 if kind < 0.6 else 0.12 if kind < 0.9 else 0.25
            x, y = round(left * side), round(top * side)
            bright = 1.0 if colour > 0.5 else 2 * colour
            image[:, y : y + 1 + round(2 * size * side * high), x : x + 1 + round(2 * size * side * wide)] = bright
    return images


def _recorded(images: Tensor, generator: Generator) -> Tensor:
    """Blurred, noisy, in [0, 1]."""
    count = len(images)
    blurred = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.lerp(images, blurred, _uniform(count, 0, 1, generator))
    noise = torch.randn(images.shape, generator=generator) * _uniform(count, 0, 0.05, generator)
    return (images + noise).clamp(0, 1)
