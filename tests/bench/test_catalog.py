"""The catalog finds entries, chooses among them, and tells whose code changed."""

import shutil
import sys
from pathlib import Path

import pytest

from bench.catalog import catalog, code_fingerprint, family, select
from bench.errors import UserError
from explainers.controls import noise
from explainers.lrp import LRPEpsilonPlus
from metrics.faithfulness import deletion


def test_built_in_entries_are_found_under_their_names():
    found = catalog()
    assert found.explainers["noise"] is noise
    assert found.metrics["deletion"] is deletion
    assert {"phantom_brain_mri_vgg16", "brain_mri_squeezenet"} <= found.tasks.keys()


def test_families_are_modules_of_explainers_and_categories_of_metrics():
    assert family(noise) == "controls"
    assert family(deletion) == "faithfulness"


def test_controls_come_first():
    assert list(catalog().explainers)[:5] == ["center", "coarse_noise", "constant", "edges", "noise"]


def test_an_entry_of_a_plugin_is_found_and_an_underscore_hides(write):
    found = catalog([write("mine = Weights()\n_hidden = Weights(2.0)")])
    assert "mine" in found.explainers
    assert "_hidden" not in found.explainers


def test_a_package_is_a_plugin_too(tmp_path: Path):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text('"""Mine."""\n')
    (package / "one.py").write_text(
        "from explainers.controls import Noise\nfrom .two import SEED\nmy_noise = Noise(SEED)\n"
    )
    (package / "two.py").write_text("SEED = 7\n")
    assert repr(catalog([package]).explainers["my_noise"]) == "Noise(seed=7)"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_two_entries_of_one_name_are_an_error(write):
    with pytest.raises(UserError, match=r"two entries are called noise: in explainers\.controls and in mine"):
        catalog([write("noise = Weights()")])


def test_an_imported_entry_is_the_same_entry(write):
    found = catalog([write("from explainers.controls import noise")])
    assert found.explainers["noise"] is noise


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("def broken(:", "SyntaxError"),
        ("import there_is_no_such_module", "ModuleNotFoundError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_the_reason(write, source: str, reason: str):
    path = write(source)
    with pytest.raises(UserError, match=reason) as error:
        catalog([path])
    assert str(path) in str(error.value)
    assert "mine" not in sys.modules


def test_a_missing_plugin_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="there is no such file"):
        catalog([tmp_path / "nowhere.py"])


def test_a_plugin_must_not_take_the_name_of_a_loaded_module(tmp_path: Path):
    (tmp_path / "torch.py").write_text("")
    with pytest.raises(UserError, match="rename the file"):
        catalog([tmp_path / "torch.py"])


def test_names_and_patterns_choose():
    entries = catalog().metrics
    assert list(select(entries, "deletion", "metric")) == ["deletion"]
    assert set(select(entries, "srg, deletion*", "metric")) == {"srg", "deletion", "deletion_blur"}
    assert select(entries, "*", "metric") == {name: entries[name] for name in entries if "quantus" not in name}
    assert set(select(entries, "*,quantus_*", "metric")) == set(entries)
    assert list(select(entries, "quantus_*_game", "metric")) == ["quantus_pointing_game"]
    assert list(select(entries, "*pointing_game", "metric")) == ["pointing_game"]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"no explainer is called 'gradcam': did you mean grad_cam"):
        select(catalog().explainers, "gradcam", "explainer")
    with pytest.raises(UserError, match="`bench list metrics` shows them all"):
        select(catalog().metrics, "xyzzy*", "metric")


def test_variants_are_chosen_by_names_with_an_at_sign_only():
    entries = catalog().explainers
    assert not any("@" in name for name in entries)
    assert not any("@" in name for name in select(entries, "*,grad_cam*", "explainer"))
    swept = select(entries, "grad_cam@*,noise", "explainer")
    assert list(swept) == ["noise", *(f"grad_cam@{stage}" for stage in range(1, 6))]
    assert [entry.stage for name, entry in swept.items() if name != "noise"] == [1, 2, 3, 4, 5]
    assert list(select(entries, "hires_cam@2", "explainer")) == ["hires_cam@2"]
    with pytest.raises(UserError, match="did you mean grad_cam@"):
        select(entries, "grad_cam@9", "explainer")


def test_code_fingerprint_follows_what_the_class_imports_beside_it(tmp_path: Path):
    package = tmp_path / "rests_on"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shared.py").write_text("VALUE = 1\n")
    (package / "unrelated.py").write_text("VALUE = 1\n")
    (package / "entry.py").write_text(
        "from explainers.controls import Noise\n"
        "from .shared import VALUE\n"
        "class Mine(Noise):\n    pass\n"
        "mine = Mine()\n"
    )
    kind = type(catalog([package]).explainers["mine"])

    def fingerprint() -> str:
        code_fingerprint.cache_clear()
        return code_fingerprint(kind)

    before = fingerprint()
    (package / "unrelated.py").write_text("VALUE = 2\n")
    assert fingerprint() == before
    (package / "shared.py").write_text("VALUE = 2\n")
    assert fingerprint() != before
    for name in [name for name in sys.modules if name.partition(".")[0] == "rests_on"]:
        del sys.modules[name]
    shutil.rmtree(package)
    code_fingerprint.cache_clear()


def test_code_fingerprints_of_families_differ():
    assert code_fingerprint(LRPEpsilonPlus) != code_fingerprint(type(noise))
