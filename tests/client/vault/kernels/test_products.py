from __future__ import annotations

import numpy as np
import pytest

from fedward.client.vault.kernels import products


def test_padding_is_whole_blocks() -> None:
    assert [products.padded_rows(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 7), (100, 128), (64, 1), (130, 33)])
@pytest.mark.parametrize("apart", [True, False])
def test_rows_depend_on_themselves_alone(
    monkeypatch: pytest.MonkeyPatch, dtype: str, inputs: int, outputs: int, apart: bool
) -> None:
    if not apart:  # a machine that fails the check takes the slow way
        monkeypatch.setattr(products, "rows_stay_apart", lambda *_: False)
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((inputs, outputs)).astype(dtype)
    row = generator.standard_normal(inputs).astype(dtype)
    seen = set()
    for place in range(0, 192, 5):
        rows = generator.standard_normal((192, inputs)).astype(dtype)
        rows[place] = row
        out = np.empty((192, outputs), dtype=dtype)
        products.multiply_rows(rows, matrix, out=out)
        np.testing.assert_allclose(out, rows @ matrix, rtol=0, atol=1e-4)
        seen.add(out[place].tobytes())
    assert len(seen) == 1


def test_the_check_catches_a_product_that_mixes_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = np.matmul

    def by_place(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        product = honest(rows, matrix)
        product[40:] = honest(rows[40:, ::-1], matrix[::-1])  # another order of addition
        return product

    products.rows_stay_apart.cache_clear()
    assert products.rows_stay_apart(50, 20, "float32")
    products.rows_stay_apart.cache_clear()
    monkeypatch.setattr(np, "matmul", by_place)
    assert not products.rows_stay_apart(50, 20, "float32")
    products.rows_stay_apart.cache_clear()


def test_the_check_catches_neighbours_that_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = np.matmul

    def leaking(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return honest(rows, matrix) + 0 * rows.sum()

    products.rows_stay_apart.cache_clear()
    monkeypatch.setattr(np, "matmul", leaking)
    assert not products.rows_stay_apart(50, 20, "float32")
    products.rows_stay_apart.cache_clear()


@pytest.mark.parametrize(
    ("rows", "outputs", "inputs"),
    [
        (512, 128, 100),
        (512, 64, 128),
        (512, 64, 1),
        (7, 24, 3),
        (5, 5, 4),
        (512, 8, 300),
        (0, 8, 2),
    ],
)
def test_outer_products_add_up(rows: int, outputs: int, inputs: int) -> None:
    generator = np.random.default_rng(0)
    left = generator.standard_normal((rows, outputs))
    right = generator.standard_normal((rows, inputs))
    out = np.full((outputs, inputs), np.nan)
    products.sum_outer_products(left, right, out=out)
    magnitudes = np.abs(left).T @ np.abs(right)
    exact = (left.astype(np.longdouble).T @ right.astype(np.longdouble)).astype(np.float64)
    assert (np.abs(out - exact) <= (rows + 1) * 2.0**-53 * magnitudes).all()
