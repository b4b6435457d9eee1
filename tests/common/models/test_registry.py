from __future__ import annotations

import subprocess
import sys

import pytest

from fedward.common.errors import InputError, InputErrors
from fedward.common.models import registry
from fedward.common.models.logistic_regression import LogisticRegression
from fedward.common.models.mlp import Mlp
from fedward.common.study.definition import Model


def test_names_become_families() -> None:
    assert isinstance(
        registry.build_model(Model(name="logistic_regression"), columns=3), LogisticRegression
    )
    mlp = registry.build_model(Model(name="mlp", options={"hidden": [4, 2]}), columns=3)
    assert isinstance(mlp, Mlp)
    assert mlp.options.hidden == (4, 2)
    assert mlp == registry.build_model(Model(name="mlp", options={"hidden": [4, 2]}), columns=3)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError) as caught:
        registry.build_model(Model(name="transformer"), columns=3)
    assert caught.value.source == "study"
    assert caught.value.field == "model.name"
    for name in registry.registered_names():
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "field", "words"),
    [
        ("mlp", {"hiden": [3]}, "model.options.hiden", "hidden, activation"),
        ("logistic_regression", {"hidden": [3]}, "model.options.hidden", "no options"),
        ("mlp", {"hidden": []}, "model.options.hidden", "at least 1"),
        ("mlp", {"hidden": [1] * 5}, "model.options.hidden", "at most 4"),
        ("mlp", {"hidden": [8, 0]}, "model.options.hidden.1", "greater than or equal to 1"),
        ("mlp", {"hidden": [8.5]}, "model.options.hidden.0", "valid integer"),
        ("mlp", {"hidden": [True]}, "model.options.hidden.0", "valid integer"),
        ("mlp", {"activation": "gelu"}, "model.options.activation", "'relu' or 'tanh'"),
    ],
)
def test_wrong_option_is_one_sentence(
    name: str, options: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        registry.build_model(Model(name=name, options=options), columns=3)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_wrong_options_are_reported() -> None:
    with pytest.raises(InputErrors) as caught:
        registry.build_model(
            Model(name="mlp", options={"activation": "gelu", "width": 3}), columns=3
        )
    assert {error.field for error in caught.value.errors} == {
        "model.options.activation",
        "model.options.width",
    }


def test_a_name_is_registered_once() -> None:
    registry.registered_names()
    with pytest.raises(ValueError, match="already"):
        registry.register("mlp")(object)


def test_only_the_classes_themselves_are_registered() -> None:
    class Sneaky(LogisticRegression):
        pass

    honest = registry.build_model(Model(name="logistic_regression"), columns=3)
    assert registry.is_registered(honest)
    assert not registry.is_registered(Sneaky(options=honest.options, columns=3))
    assert not registry.is_registered(object())


def test_no_columns() -> None:
    with pytest.raises(ValueError, match="column"):
        registry.build_model(Model(name="mlp"), columns=0)


def test_models_do_not_import_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "import fedward.common.models\n"
        "from fedward.common.models.registry import build_model\n"
        "from fedward.common.study.definition import Model\n"
        "for name in ('logistic_regression', 'mlp'):\n"
        "    model = build_model(Model(name=name), columns=3)\n"
        "    model.predict(model.initial(0), np.zeros((2, 3)))\n"
        "raise SystemExit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
