"""Symmetric positive definite systems of a few equations, in plain Python."""

import math
from collections.abc import Iterable, Sequence
from operator import mul

Vector = Sequence[float]


def cholesky(matrix: Sequence[Vector]) -> list[list[float]]:
    """Return the lower triangular L with ``L Lᵀ = matrix``, of which the lower half is read."""
    factor: list[list[float]] = []
    for i, row in enumerate(matrix):
        ours: list[float] = []
        for j in range(i):
            theirs = factor[j]
            ours.append((row[j] - dot(ours, theirs)) / theirs[j])
        ours.append(math.sqrt(row[i] - dot(ours, ours)))
        factor.append(ours)
    return factor


def forward(factor: Sequence[Vector], vector: Vector) -> list[float]:
    """Return z with ``L z = vector``."""
    solved: list[float] = []
    for row, value in zip(factor, vector, strict=True):
        solved.append((value - dot(solved, row)) / row[-1])
    return solved


def backward(factor: Sequence[Vector], vector: Vector) -> list[float]:
    """Return x with ``Lᵀ x = vector``."""
    rest = list(vector)
    for i in range(len(rest) - 1, -1, -1):
        row = factor[i]
        rest[i] /= row[i]
        for j in range(i):
            rest[j] -= row[j] * rest[i]
    return rest


def dot(one: Vector, other: Vector) -> float:
    """Return the inner product, as far as the shorter one goes."""
    products: Iterable[float] = map(mul, one, other)
    return sum(products)
