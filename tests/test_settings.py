"""Every setting is checked in one place, and each refusal is one sentence with the value and the allowed range."""

import math

import pytest

from ebm_refine.errors import InputError
from ebm_refine.parameters import Parameter
from ebm_refine.samplers import METHODS
from ebm_refine.settings import resolve

CONFIG = {
    "kind": "pair",
    "parts": {"generator": {}, "discriminator": {}},
    "calibration": {"slope": 2.0, "intercept": 0.0},
    "defaults": {"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.25, "n_steps": 7}},
}
BAD_NUMBERS = [math.nan, math.inf, -math.inf, -1, 0, 1e300, 10**400, "0.1", "", True, False, [1], {}, b"1", 1 + 2j]


def refused(**arguments) -> str:
    with pytest.raises(InputError) as caught:
        resolve("m", CONFIG, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["eps", "n_steps"])
def test_bad_eps_and_steps_are_refused(name, value):
    message = refused(**{name: value})
    row = next(row for row in METHODS["langevin"].parameters if row.name == name)
    assert name in message
    assert row.allowed in message


@pytest.mark.parametrize("value", [None, *BAD_NUMBERS, 10_000_000, 2.5], ids=repr)
def test_bad_num_images_are_refused(value):
    assert "num_images must be a whole number from 1 to 50000; got" in refused(num_images=value)


@pytest.mark.parametrize("value", [-1, 2**32, "7", None, True, 0.5, math.nan], ids=repr)
def test_bad_seeds_are_refused(value):
    assert "seed must be a whole number from 0 to 4294967295" in refused(seed=value)


@pytest.mark.parametrize("value", [-0.1, math.nan, "hot", True], ids=repr)
def test_bad_beta_and_temperature_are_refused(value):
    assert "beta must be" in refused(beta=value)
    assert "temperature must be" in refused(temperature=value)


@pytest.mark.parametrize("value", ["nuts", "", 3, True, ["langevin"], "LANGEVIN", "x" * 10_000], ids=lambda v: repr(v)[:20])
def test_unknown_methods_are_refused(value):
    assert "method must be one of langevin" in refused(method=value)


@pytest.mark.parametrize("value", ["best", "", 3, True, "refitted"], ids=repr)
def test_unknown_or_absent_ratios_are_refused(value):
    assert "ratio must be one of auto, raw, calibrated" in refused(ratio=value)


@pytest.mark.parametrize("options", ["gamma", [1], 3, True])
def test_options_must_be_an_object(options):
    assert "options must be an object" in refused(options=options)


def test_unknown_options_name_the_known_ones():
    message = refused(method="rejection", options={"gama": 1})
    assert "'gama'" in message
    assert "gamma_percentile" in message
    assert "eps" in refused(options={"eps": 0.1})  # a setting of its own is no option


def test_a_temperature_for_rejection_is_refused_and_an_eps_is_said_to_be_ignored():
    assert "has no temperature" in refused(method="rejection", temperature=0.5)
    assert resolve("m", CONFIG, method="rejection", eps=0.1).ignored == ("eps",)
    assert "eps must be" in refused(method="rejection", eps=math.nan)


def test_features_cannot_be_refined():
    with pytest.raises(InputError, match="kind 'features' and cannot be refined"):
        resolve("f", {**CONFIG, "kind": "features"})


def test_defaults_come_from_the_checkpoint_then_from_the_row():
    settings = resolve("m", CONFIG)
    assert (settings.method, settings.ratio) == ("langevin", "calibrated")
    assert settings.values == {"eps": 0.25, "n_steps": 7, "temperature": 1.0}
    assert resolve("m", CONFIG, eps=0.5).values["eps"] == 0.5
    rejection = resolve("m", CONFIG, method="rejection")
    assert rejection.values["n_steps"] == 100


def test_settings_round_trip_through_their_dictionary():
    settings = resolve("m", CONFIG, method="rejection", num_images=3, options={"gamma_percentile": 80})
    arguments = settings.as_dict()
    assert resolve(arguments.pop("model"), CONFIG, **arguments) == settings


def test_settings_vary_without_being_resolved_again():
    settings = resolve("m", CONFIG, method="mala", seed=4, options={})
    changed = settings.changed(seed=5, n_steps=9, eps=0.125)
    assert changed == resolve("m", CONFIG, method="mala", seed=5, n_steps=9, eps=0.125)
    assert settings == resolve("m", CONFIG, method="mala", seed=4)  # itself untouched
    assert settings.changed() == settings
    assert changed.changed(eps=None).values["eps"] is None  # of MALA: let the pilot choose


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number from 1 to 10000; got 0"),
        ({"eps": math.nan}, "eps must be a number from 1e-09 to 10; got nan"),
        ({"num_images": 50_001}, "num_images must be a whole number from 1 to 50000; got 50001"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295; got -1"),
        ({"beta": 2.0}, "only num_images, seed, eps, n_steps, temperature can be changed here; got 'beta'"),
        ({"clip": 0.1}, "only num_images, seed, eps, n_steps, temperature can be changed here; got 'clip'"),
    ],
)
def test_what_is_changed_is_checked(values, sentence):
    with pytest.raises(InputError) as caught:
        resolve("m", CONFIG).changed(**values)
    assert str(caught.value) == sentence


def test_whole_numbers_may_be_written_as_floats_but_not_as_fractions():
    row = Parameter("k", "int", 1, 0, 10)
    assert row.parse(3.0) == 3
    assert isinstance(row.parse(3.0), int)
    with pytest.raises(InputError, match="whole number"):
        row.parse(3.5)


def test_text_is_read_by_kind():
    assert Parameter("e", "float", 0.1, 0, 1).parse_text("1e-3") == 1e-3
    assert Parameter("c", "choice", "a", choices=("a", "b")).parse_text("b") == "b"
    assert Parameter("o", "float", None, 0, 1).parse_text("none") is None
    row = Parameter("e", "float", 0.1, 0, 1)
    assert [row.given(value) for value in (None, "", "  ", "0.5", 0.5)] == [0.1, 0.1, 0.1, 0.5, 0.5]
    with pytest.raises(InputError):
        row.given("2")
    with pytest.raises(InputError, match="got 'abc'"):
        Parameter("e", "float", 0.1, 0, 1).parse_text("abc")


def test_every_row_accepts_its_own_default():
    for method in METHODS.values():
        for row in method.parameters:
            assert row.parse(row.default) == row.default
            assert row.help
