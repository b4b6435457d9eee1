from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward.client.vault.kernels import prediction, products
from fedward.client.vault.kernels.prediction import row_probabilities, weighted_columns
from fedward.common.models import registry
from fedward.common.models.registry import ModelFamily, build_model
from fedward.common.study.definition import Model

Floats = NDArray[np.float64]
FAMILIES: dict[str, ModelFamily] = {
    name: build_model(Model(name=family, options=options), columns=13)
    for name, family, options in (
        ("logistic regression", "logistic_regression", {}),
        ("relu", "mlp", {"hidden": [17]}),
        ("tanh", "mlp", {"hidden": [16, 33], "activation": "tanh"}),
        ("one column wide", "mlp", {"hidden": [1]}),
    )
}


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["in blocks", "row by row"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to a product: a machine that fails the check takes the slow one."""
    if request.param == "row by row":
        monkeypatch.setattr(products, "rows_stay_apart", lambda *_: False)


def drawn(family: ModelFamily, rows: int, *, scale: float = 1.0) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(rows)
    parameters = scale * generator.standard_normal(family.parameter_count)
    return parameters, generator.uniform(-3, 3, (rows, family.columns))


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("rows", [0, 1, 63, 64, 65, 500])
def test_it_is_what_the_model_predicts(family: ModelFamily, rows: int) -> None:
    parameters, features = drawn(family, rows)
    found = row_probabilities(family, parameters, features)

    assert found.shape == (rows,)
    np.testing.assert_allclose(found, family.predict(parameters, features), rtol=1e-12, atol=1e-300)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("scale", [1e-3, 1.0, 2.0**60])
def test_a_row_has_the_same_bits_in_any_company(
    family: ModelFamily, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "MOST_BLOCK_ROWS", 128)
    parameters, features = drawn(family, 300, scale=scale)
    found = row_probabilities(family, parameters, features)
    generator = np.random.default_rng(0)

    for size in (1, 2, 7, 8, 9, 63, 64, 65, 127, 200, 300):
        some = generator.permutation(300)[:size]
        of_some = row_probabilities(family, parameters, features[some])
        assert of_some.tobytes() == found[some].tobytes()


@pytest.mark.usefixtures("_way")
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_loud_row_stays_alone(family: ModelFamily) -> None:
    parameters, features = drawn(family, 100)
    found = row_probabilities(family, parameters, features)
    for loud in (np.nan, np.inf, -np.inf, np.finfo(float).max):
        beside = features.copy()
        beside[::2] = loud
        assert (
            row_probabilities(family, parameters, beside)[1::2].tobytes() == found[1::2].tobytes()
        )


def test_columns_are_weighted_and_added() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])

    assert weighted_columns(rows, np.array([10.0, 1.0])).tolist() == [12.0, 34.0, 56.0]
    assert weighted_columns(rows[:0], np.array([10.0, 1.0])).tolist() == []


class Averaging:
    """A model that a row's neighbours would change."""

    columns = 2
    parameter_count = 1

    def predict(self, parameters: Floats, features: Floats) -> Floats:
        return 0.5 + 0.1 * parameters[0] * (features - features.mean(axis=0))[:, 0]


def test_another_family_is_shown_one_row_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.arange(10.0).reshape(5, 2)
    model: Any = Averaging()
    with pytest.raises(ValueError, match="registry"):
        row_probabilities(model, np.ones(1), features)

    monkeypatch.setitem(registry._families, "averaging", Averaging)
    assert row_probabilities(model, np.ones(1), features).tolist() == [0.5] * 5


def test_other_shapes_are_errors(family: ModelFamily) -> None:
    parameters, features = drawn(family, 5)
    with pytest.raises(ValueError, match="features must be"):
        row_probabilities(family, parameters, features[:, 1:])
    with pytest.raises(ValueError, match="features must be"):
        row_probabilities(family, parameters, features[0])
    with pytest.raises(ValueError, match="parameters must be"):
        row_probabilities(family, parameters[1:], features)
