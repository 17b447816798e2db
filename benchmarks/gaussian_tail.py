"""Where the numbers of ``custom_ops/cpu/gelu.h`` come from: a polynomial for the tail of the normal distribution.

    python -m benchmarks.gaussian_tail

erfc(z) = exp(-z^2) * t * P(t) with t = 1 / (1 + z / 2) for z >= 0: P is fitted so that the largest relative error is
small, and printed, highest power first, with that error and the one of float32 arithmetic.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.polynomial import Polynomial, chebyshev
from scipy.special import erfcx

FACTOR = 0.5


def fitted(degree: int) -> tuple[np.ndarray, float, float]:
    """Coefficients from the lowest power on, largest relative error, and that of float32."""
    z = np.concatenate([np.linspace(0, 3, 40001), np.linspace(3, 13, 20001)])  # exp(-z^2) is nothing beyond
    t = 1 / (1 + FACTOR * z)
    wanted, least = erfcx(z) / t, t.min()
    powers = chebyshev.chebvander((2 * t - 1 - least) / (1 - least), degree)
    weights = 1 / wanted
    for _ in range(40):  # what is fitted worst counts more the next time
        coefficients = np.linalg.lstsq(powers * weights[:, None], wanted * weights, rcond=None)[0]
        errors = np.abs(powers @ coefficients - wanted) / wanted
        weights = weights * np.sqrt(1 + 8 * (errors / errors.max()) ** 2)
    line = Polynomial([(-1 - least) / (1 - least), 2 / (1 - least)])
    found = Polynomial(chebyshev.cheb2poly(coefficients))(line).coef
    narrow = (1 / (1 + FACTOR * z.astype(np.float32))).astype(np.float32)
    value = np.full_like(narrow, found[-1])
    for coefficient in found[-2::-1]:
        value = (value.astype(np.float64) * narrow + np.float32(coefficient)).astype(np.float32)
    return found, float(errors.max()), float(np.abs(value.astype(np.float64) * narrow / erfcx(z) - 1).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degree", type=int, default=10)
    coefficients, error, error_of_float32 = fitted(parser.parse_args().degree)
    print(", ".join(f"{coefficient:.9e}f" for coefficient in coefficients[::-1]))
    print(f"largest relative error {error:.1e}, in float32 {error_of_float32:.1e}")


if __name__ == "__main__":
    main()
