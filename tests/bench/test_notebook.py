"""`bench.notebook.score`: the command's numbers, and nothing left behind; and the examples of docs/own_data.md."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet18

from bench.notebook import score
from explainers.controls import Center
from explainers.gradient import Gradient, gradient
from leaderboard import record
from metrics.complexity import sparseness
from tasks.brain_mri import phantom_brain_mri_vgg16

DOCUMENT = Path(__file__).parents[2] / "docs" / "own_data.md"
COLUMNS = ["explainer", "metric", "category", "higher_is_better", "sample", "score", "status", "reason"]
SIDE = 16


def net() -> nn.Module:
    """Half in training mode, with a batch norm whose statistics a forward pass would move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        made = nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(4, 3))
    made[3].eval()
    made[0].weight.requires_grad_(False)
    return made


def images(n: int = 3) -> Tensor:
    return torch.rand((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))


def half(n: int = 3) -> Tensor:
    masks = torch.zeros(n, 1, SIDE, SIDE, dtype=torch.bool)
    masks[:, :, :, : SIDE // 2] = True
    return masks


def state(model: nn.Module) -> list[object]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [
        [(name, value.tolist(), value.requires_grad, value.stride(), value.device) for name, value in tensors],
        [(module.training, getattr(module, "inplace", None), module._forward_hooks) for module in model.modules()],
    ]


def test_scores_are_those_of_the_command(bench: Callable[..., object], tmp_path: Path):
    name = "phantom_brain_mri_vgg16"
    chosen = {"explainers": "noise,grad_cam", "metrics": "srg,pointing_game"}
    options = [f"--{kind}={names}" for kind, names in chosen.items()]
    bench("run", "--tasks", name, "--samples", 2, "--device", "cpu", "--results", tmp_path, *options)
    (batch,) = phantom_brain_mri_vgg16.batches(2, stop=2)
    task = phantom_brain_mri_vgg16
    table = score(task.model(), batch.inputs, masks=batch.masks, task=name, ids=batch.ids, **chosen)
    keys = ["explainer", "metric", "sample"]
    commands = record.load(tmp_path).scores.astype(dict.fromkeys(keys, str)).sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(
        table.sort_values(keys, ignore_index=True)[[*keys, "score"]], commands[[*keys, "score"]], check_exact=True
    )
    chosen = {"explainers": "grad_cam", "metrics": "srg"}  # where its map is 0, pixels come in an order drawn by lot
    renamed, numbered = (
        score(task.model(), batch.inputs, **chosen, **names) for names in ({"ids": batch.ids}, {"task": name})
    )
    both = table[(table.explainer == "grad_cam") & (table.metric == "srg")].score
    assert not set(renamed.score) & set(both)
    assert not set(numbered.score) & set(both)


def test_the_table_is_long_whole_and_in_order():
    table = score(net(), images(), explainers=["gradient", "center"], metrics=["sparseness", "pointing_game"])
    assert list(table.columns) == COLUMNS
    assert table.explainer.tolist() == ["gradient"] * 6 + ["center"] * 6
    assert table["sample"].tolist() == ["0", "1", "2"] * 4
    scored = table[table.metric == "sparseness"]
    assert set(scored.status) == {"scored"}
    assert scored.score.notna().all()
    without_masks = table[table.metric == "pointing_game"]
    assert set(without_masks.status) == {"inapplicable"}
    assert set(without_masks.reason) == {"the task has no masks"}
    assert without_masks.score.isna().all()


def test_masks_and_targets_are_used():
    everywhere = torch.ones(3, 1, SIDE, SIDE, dtype=torch.bool)
    chosen = {"explainers": "center", "metrics": "pointing_game"}
    assert score(net(), images(), masks=everywhere, **chosen).score.tolist() == [1, 1, 1]
    chosen = {"explainers": "gradient", "metrics": "srg"}
    scores = [score(net(), images(), torch.full((3,), target), **chosen).score for target in (0, 1)]
    assert not scores[0].equals(scores[1])


def test_more_than_one_shard_is_one_table(tmp_path: Path):
    inputs = images(40)
    whole = score(net(), inputs, explainers="noise,gradient", metrics="sparseness,srg", results=tmp_path)
    assert whole["sample"].tolist() == [str(index) for index in range(40)] * 4
    assert whole.score.notna().all()
    part = score(net(), inputs[:5], explainers="gradient", metrics="srg", results=tmp_path)
    expected = whole[(whole.explainer == "gradient") & (whole.metric == "srg")].head(5)
    pd.testing.assert_frame_equal(part, expected.reset_index(drop=True), check_exact=True)


def test_the_model_the_inputs_and_the_random_state_are_left_as_they_were():
    model, inputs, masks = net().to(memory_format=torch.channels_last), images().requires_grad_(), half()
    before, random = state(model), torch.get_rng_state()
    score(model, inputs, masks=masks, explainers="lrp*,grad_cam,integrated_gradients", metrics="srg,pointing_game")
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert inputs.grad is None
    assert torch.equal(inputs, images())


def test_it_computes_exactly_and_gives_the_settings_back(monkeypatch: pytest.MonkeyPatch):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    seen = []

    class Looking(Center):
        def attribute(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
            seen.append((cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32))
            return super().attribute(model, inputs, targets)

    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    score(net(), images(), explainers={"looking": Looking()}, metrics="sparseness")
    assert set(seen) == {(True, False, False)}
    assert (cudnn.deterministic, cudnn.allow_tf32) == (False, True)


def test_instances_have_the_catalogs_name_their_own_or_what_they_print_as():
    flat = Gradient()
    table = score(net(), images(), explainers=[flat, Center(0.5)], metrics=sparseness)
    assert table.explainer.unique().tolist() == ["gradient", repr(Center(0.5))]
    table = score(net(), images(), explainers={"mine": gradient}, metrics={"even": sparseness})
    assert table[["explainer", "metric"]].drop_duplicates().to_numpy().tolist() == [["mine", "even"]]


def test_failures_have_their_reason():
    class Broken(Gradient):
        def attribute(self, *_: object) -> Tensor:
            raise RuntimeError("the explainer is broken")

    table = score(net(), images(), explainers={"broken": Broken(), "center": Center()}, metrics="sparseness")
    failed = table[table.explainer == "broken"]
    assert set(failed.status) == {"failed"}
    assert set(failed.reason) == {"explainer: RuntimeError: the explainer is broken"}
    assert set(table[table.explainer == "center"].status) == {"scored"}


def test_kept_records_are_used_again_until_something_changes(tmp_path: Path):
    chosen = {"explainers": "center", "metrics": "seconds"}  # no two measurements are the same
    first = score(net(), images(), results=tmp_path, **chosen)
    assert score(net(), images(), results=str(tmp_path), **chosen).equals(first)
    changed = net()
    with torch.no_grad():
        changed[6].bias += 1
    assert not score(changed, images(), results=tmp_path, **chosen).score.equals(first.score)
    again = score(net(), images(), results=tmp_path, **chosen)
    assert not score(net(), images().flip(0), results=tmp_path, **chosen).score.equals(again.score)


def test_explainers_typed_anew_are_others(tmp_path: Path):
    scores = []
    for sign in (1, -1):  # no file has the source, as of a notebook's cell
        namespace = {"Gradient": Gradient}
        exec(
            f"class Typed(Gradient):\n    def attribute(self, *a):\n        return {sign} * super().attribute(*a)",
            namespace,
        )
        scores.append(
            score(net(), images(), explainers={"typed": namespace["Typed"]()}, metrics="srg", results=tmp_path)
        )
    assert not scores[0].score.equals(scores[1].score)


def test_another_forward_of_the_same_layers_is_another_model(tmp_path: Path):
    chosen = {"explainers": "gradient", "metrics": "srg", "results": tmp_path}

    # Classes whose source cannot be told apart, as those typed into a notebook.
    namespace: dict[str, object] = {"nn": nn}
    made = []
    for scale in (1, 0.1):
        exec(
            f"class Typed(nn.Sequential):\n    def forward(self, x):\n        return super().forward({scale} * x)",
            namespace,
        )
        made.append(namespace["Typed"](*net()))  # type: ignore[operator]
    first, second = (score(model, images(), **chosen).score for model in made)  # type: ignore[arg-type]
    assert not first.equals(second)


def test_labels_are_kept_beside_the_records(tmp_path: Path):
    chosen = {"explainers": "center", "metrics": "sparseness"}
    score(net(), images(), labels=torch.tensor([0, 1, -1]), results=tmp_path, **chosen)
    samples = record.load(tmp_path).samples
    assert samples.label.tolist() == ["0", "1", "unknown"]
    assert samples.outcome.tolist()[2] == "unknown"
    score(net(), images(), results=tmp_path / "unlabelled", **chosen)
    assert set(record.load(tmp_path / "unlabelled").samples.outcome) == {"unknown"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": images() * 255}, r"inputs: in \[0, 1\], not \[.*\]; normalization belongs into the model"),
        ({"inputs": images() - 0.5}, r"inputs: in \[0, 1\]"),
        ({"inputs": images().byte()}, r"inputs: a float32 tensor in \[0, 1\], not torch.uint8; 8-bit"),
        ({"inputs": images().double()}, "not torch.float64"),
        ({"inputs": images().numpy()}, "not a ndarray"),
        ({"inputs": images()[0]}, r"inputs: \(N, 3, H, W\) with at least one image, not \(3, 16, 16\)"),
        ({"inputs": images()[:, :1]}, r"not \(3, 1, 16, 16\)"),
        ({"inputs": images()[:0]}, r"not \(0, 3, 16, 16\)"),
        ({"inputs": images().log().log()}, "inputs: some are not finite"),
        ({"targets": torch.tensor([0, 1])}, r"targets: \(3,\) int64, one an image, not \(2,\) torch.int64"),
        ({"targets": torch.rand(3)}, r"targets: .* not \(3,\) torch.float32"),
        ({"targets": [0, 1, 2]}, "targets: .* not list"),
        ({"targets": torch.tensor([0, 1, 3])}, r"targets: in \[0, 3\), as the model has 3 logits, not \[0, 3\]"),
        ({"targets": torch.tensor([0, 1, -1])}, r"targets: in \[0, 3\)"),
        ({"labels": torch.tensor([0, 1, -2])}, r"labels: in \[-1, 3\)"),
        ({"masks": half()[:2]}, r"masks: \(3, 1, 16, 16\) bool, not \(2, 1, 16, 16\) torch.bool"),
        ({"masks": half().float()}, r"masks: .* torch.float32"),
        ({"masks": half()[:, 0]}, r"masks: .* not \(3, 16, 16\)"),
        ({"ids": ["a", "b", "a"]}, "ids: 3 strings, each once, not 3 of which 2 differ"),
        ({"ids": ["a"]}, "ids: 3 strings"),
        ({"task": "a/b"}, "task: 'a/b' is no name for a file"),
        ({"batch_size": 0}, "batch_size: at least 1, not 0"),
        ({"device": "warp"}, "device 'warp' cannot be used here"),
        ({"explainers": "grad_cm"}, "no explainer is called 'grad_cm': did you mean grad_cam"),
        ({"metrics": "deletoin"}, "no metric is called 'deletoin': did you mean deletion"),
        ({"explainers": [sparseness]}, "explainers: give names, patterns or instances of Explainer, not Sparseness"),
        ({"explainers": Gradient}, "explainers: give names, patterns or instances of Explainer"),
        ({"explainers": {"a/b": gradient}}, "explainer: 'a/b' is no name for a file"),
        ({"explainers": []}, "explainers: none is chosen"),
        ({"model": lambda x: x}, "model: an nn.Module, not a function"),
        ({"model": nn.Flatten(2)}, r"model: answers \(3, 3, 256\) to 3 images, not \(N, K\) logits"),
        ({"model": nn.Sequential(net(), nn.Softmax(1))}, "model: answers probabilities"),
        ({"model": nn.Conv2d(1, 1, 1)}, r"model: cannot take \(3, 3, 16, 16\) float32 images"),
    ],
)
def test_what_is_no_good_is_one_line(arguments: dict[str, object], message: str):
    good: dict[str, object] = {"model": net(), "inputs": images(), "explainers": "center", "metrics": "sparseness"}
    with pytest.raises(ValueError, match=message) as error:
        score(**(good | arguments))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def blocks(mark: str, language: str) -> list[str]:
    """The pieces of the document behind a mark."""
    return re.findall(rf"<!-- {mark} -->\n```{language}\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)


@pytest.fixture
def own_data(tmp_path: Path) -> Iterator[Path]:
    """Phantoms as an ImageFolder, with masks of those that have evidence, and weights."""
    for index in range(4):
        sample = phantom_brain_mri_vgg16.samples()[index]
        name = "healthy" if sample.mask is None or not sample.mask.any() else "ill"
        for folder, pixels in (("images", sample.input.mul(255).byte()), ("masks", sample.mask)):
            path = tmp_path / folder / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if folder == "images":
                Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
            elif name == "ill":
                Image.fromarray(pixels[0].numpy()).save(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(resnet18(num_classes=2).state_dict(), tmp_path / "resnet18.pth")
    return tmp_path


def test_the_documents_task_works_as_it_stands(bench: Callable[..., object], own_data: Path):
    (source,) = blocks("my_task.py", "python")
    (command,) = blocks("my_task.py is run", "bash")
    assert len(source.splitlines()) <= 20
    (own_data / "my_task.py").write_text(source)
    words = shlex.split(command.replace("my_task.py", str(own_data / "my_task.py")))[1:]
    answer = bench(*words, "--samples", 2, "--device", "cpu", "--results", own_data / "results")
    assert answer.status == 0, answer.out + answer.err
    loaded = record.load(own_data / "results")
    assert set(loaded.cells.status) == {"scored"}
    assert {"lrp_epsilon_plus", "grad_cam", "center"} <= set(loaded.scores.explainer)
    assert set(loaded.samples.label) == {"healthy", "ill"}
    pointing = loaded.scores[loaded.scores.metric == "pointing_game"]
    assert pointing.score.isna().mean() == 0.5  # the healthy one has no mask


def test_the_documents_notebook_works_as_it_stands(capsys: pytest.CaptureFixture[str]):
    cells = blocks("notebook", "python")
    assert len(cells) == 2
    namespace: dict[str, object] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for cell in cells:
            exec(cell, namespace)
    assert "lrp_epsilon_plus" in capsys.readouterr().out
    table = namespace["table"]
    assert isinstance(table, pd.DataFrame)
    assert set(table.status) == {"scored"}
