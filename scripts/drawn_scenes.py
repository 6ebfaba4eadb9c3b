"""Scenes drawn with a seed, each seen many times: pictures that even random layers can tell apart.

    .venv-convert/bin/python scripts/drawn_scenes.py FOLDER [SIDE]

Writes FOLDER/fit and FOLDER/seen, a folder per scene in both, the same scenes and other sightings. A scene is a wave of
two colours and a shape of a third. A sighting has light of its own and the noise of a good camera; nothing moves,
because random layers, unlike trained ones, answer to a shift as to another picture.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

SCENES, SIGHTINGS = 8, 40
LIGHT, NOISE = 0.03, 0.3
"""The largest change of brightness, as a share; and the deviation of a pixel's noise, of 255."""


def scenes(side: int, count: int = SCENES) -> np.ndarray:
    """Return the scenes, (count, side, side, 3) in 0..255."""
    generator = np.random.default_rng(5)
    return np.stack([scene(generator, side) for _ in range(count)])


def scene(generator: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[0:side, 0:side] / side
    crest, trough, shape = generator.uniform(30.0, 225.0, (3, 3))
    angle, waves, phase = generator.uniform(0.0, np.pi), generator.uniform(2.0, 8.0), generator.uniform(0.0, 2 * np.pi)
    wave = np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    if generator.random() < 0.5:
        wave = wave * np.sin(2 * np.pi * waves * (y * np.cos(angle) - x * np.sin(angle)) + phase)
    across, down = generator.uniform(0.35, 0.65, 2)
    radius, power = generator.uniform(0.15, 0.3), generator.choice([1, 2, 8])
    inside = abs(x - across) ** power + abs(y - down) ** power < radius**power
    return np.where(inside[..., None], shape, trough + (crest - trough) * ((wave + 1.0) / 2.0)[..., None])


def sightings(count: int, side: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, (count, side, side, 3) uint8, and the scene of each, in no order; all alike often."""
    generator = np.random.default_rng(seed)
    known, shown = scenes(side), generator.permutation(np.arange(count) % SCENES)
    light = generator.uniform(1.0 - LIGHT, 1.0 + LIGHT, (count, 1, 1, 1))
    seen = [
        np.clip(known[which] * bright + generator.normal(0.0, NOISE, known[which].shape), 0, 255).astype(np.uint8)
        for which, bright in zip(shown, light, strict=True)
    ]
    return np.stack(seen), shown


def write(folder: Path, side: int, *, seed: int) -> None:
    pictures, shown = sightings(SCENES * SIGHTINGS, side, seed=seed)
    for number, (picture, which) in enumerate(zip(pictures, shown, strict=True)):
        target = folder / f"scene{which}"
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(target / f"{number:03}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("side", type=int, nargs="?", default=224)
    args = parser.parse_args()
    for seed, name in enumerate(("fit", "seen")):
        write(args.folder / name, args.side, seed=seed)


if __name__ == "__main__":
    main()
