"""Bad input of every kind: one clear line that names the file, or left out and counted where that was asked for."""

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tasks.brain_mri import BrainTumorMRI, PhantomBrainMRI
from tasks.isic_2017 import ISIC2017ResNet50, PhantomISIC2017ResNet50
from tasks.networks.checkpoints import load_checkpoint, read_initial_weights, save_checkpoint
from tasks.published import PublishedTask
from tasks.publishing import PARTS
from tasks.sars_cov_2_ct import PhantomChestCTVGG16, SARSCoV2CT

SIDE, N_SAMPLES = 32, 30
ISIC, BRAIN, CT = "isic-2017", "brain-tumor-classification-mri", "sars-cov-2-ct-scan"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for phantom in (PhantomISIC2017ResNet50, PhantomBrainMRI, PhantomChestCTVGG16):
        phantom(size=SIDE).publish(folder, N_SAMPLES)
    return folder


@pytest.fixture
def data(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three data sets, as they were published: what is changed here stays here."""
    shutil.copytree(published, tmp_path / "data")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def _ct(data: Path) -> Path:
    """A held-out picture: the first that is read."""
    return data / CT / "COVID/Covid (13).png"


def _png(path: Path, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE), **settings: object) -> None:
    Image.fromarray(np.arange(size[0] * size[1], dtype=np.uint8).reshape(size[::-1])).convert(mode).save(
        path,
        **settings,  # type: ignore[arg-type]
    )


def _truncated_png(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:700])


def _truncated_jpeg(path: Path) -> None:
    _png(path, "RGB", (64, 64), format="JPEG")
    path.write_bytes(path.read_bytes()[:-200])


def _flipped_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:90] = b"\x55" * 30
    path.write_bytes(content)


def _floating_point(path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)).save(path, format="TIFF")


def _more_than_16_bits(path: Path) -> None:
    Image.fromarray(np.full((16, 16), 1 << 20, dtype=np.int32)).save(path, format="TIFF")


def _bomb(side: int) -> Callable[[Path], object]:
    """A small file that says that it holds a huge picture."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + path.read_bytes()[33:])


def _animated(path: Path) -> None:
    frames = [Image.new("L", (16, 16), grey) for grey in (0, 120, 250)]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:])


def _pages(path: Path) -> None:
    frames = [Image.new("L", (16, 16), grey) for grey in (0, 250)]
    frames[0].save(path, format="TIFF", save_all=True, append_images=frames[1:])


def _program(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(/etc/passwd) run\n")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.png")


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _link_outside(path: Path) -> None:
    outside = path.parents[3] / "elsewhere.png"
    path.rename(outside)
    path.symlink_to(outside)


BAD_PICTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated PNG": (
        _truncated_png,
        r"not a readable image \(image file is truncated.*\); replace it by the published file",
    ),
    "a truncated JPEG": (_truncated_jpeg, r"not a readable image \(image file is truncated.*\); replace"),
    "a damaged PNG": (_flipped_bytes, r"not a readable image \(.+\); replace it"),
    "zero bytes": (lambda path: path.write_bytes(b""), r"not a readable image \(the file is empty\); replace it"),
    "text": (lambda path: path.write_text("no picture"), r"not a readable image \(not of a known format\); replace it"),
    "a program": (_program, r"not a readable image \(not of a known format\)"),
    "floating-point pixels": (_floating_point, r"\(the range of floating-point pixels is not known\)"),
    "more than 16 bits": (_more_than_16_bits, r"\(pixels of more than 16 bits\)"),
    "one pixel": (lambda path: _png(path, size=(1, 1)), r"\(1 x 1 pixels show nothing\)"),
    "a decompression bomb": (_bomb(20_000), r"\(far too many pixels\)"),
    "half a decompression bomb": (_bomb(10_000), r"\(far too many pixels\)"),
    "an animation": (_animated, r"\(more than one picture\)"),
    "pages": (_pages, r"\(more than one picture\)"),
    "a folder": (_folder, r"is a folder, not an image; the data set is incomplete"),
    "a broken link": (_broken_link, r"no such image, but a link to gone.png; the data set is incomplete"),
    "a link to itself": (_circle, r"no such image, but a link to Covid \(13\).png; the data set is incomplete"),
    "a link out of the folder": (_link_outside, r"leads out of the data set, to .*elsewhere.png; put the file itself"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_named_in_one_line_or_left_out(kind: str, data: Path) -> None:
    spoil, message = BAD_PICTURES[kind]
    whole = len(SARSCoV2CT(size=SIDE).part("heldout"))
    spoil(_ct(data))
    with pytest.raises((ValueError, OSError), match=f"^{data}/{CT}/COVID/Covid .13..png: [^\n]*{message}[^\n]*$"):
        list(SARSCoV2CT(size=SIDE).batches(4))
    skipping = SARSCoV2CT(size=SIDE, skip_unreadable=True)
    assert [path for path, _ in skipping.skipped("heldout")] == ["COVID/Covid (13).png"]
    assert sum(len(batch.ids) for batch in skipping.batches(4)) == whole - 1
    assert not skipping.skipped("train")


def test_a_file_that_may_not_be_read_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(_ct(data)))

    monkeypatch.setattr(Image, "open", refuse)  # root, who may run this, reads everything
    with pytest.raises(ValueError, match=r"Covid .*png: not a readable image \(Permission denied\); replace it"):
        SARSCoV2CT(size=SIDE).samples()[0]


GOOD_PICTURES: dict[str, Callable[[Path], object]] = {
    "grey": lambda path: _png(path, "L"),
    "one bit": lambda path: _png(path, "1"),
    "a palette": lambda path: _png(path, "P"),
    "grey with alpha": lambda path: _png(path, "LA"),
    "16 bits": lambda path: _png(path, "I;16"),
    "printing colours": lambda path: _png(path, "CMYK", format="JPEG"),
    "a GIF called PNG": lambda path: _png(path, "P", format="GIF"),
    "a TIFF called PNG": lambda path: _png(path, "RGB", format="TIFF"),
}


@pytest.mark.parametrize("kind", GOOD_PICTURES)
def test_a_picture_of_another_mode_is_read(kind: str, data: Path) -> None:
    GOOD_PICTURES[kind](_ct(data))
    image = SARSCoV2CT(size=SIDE).samples()[0].input
    assert image.shape == (3, SIDE, SIDE)
    assert 0 <= image.min() < image.max() <= 1


def _isic(data: Path, what: str) -> Path:
    return next(iter(sorted((data / ISIC).glob(f"ISIC-2017_Validation_{what}"))))


def _other_size(data: Path) -> Path:
    mask = _isic(data, "Part1_GroundTruth/*.png")
    Image.new("L", (40, 20)).save(mask)
    return mask


def _no_mask(data: Path) -> Path:
    mask = _isic(data, "Part1_GroundTruth/*.png")
    mask.unlink()
    return mask


def _grey_mask(data: Path) -> Path:
    mask = _isic(data, "Part1_GroundTruth/*.png")
    with Image.open(mask) as picture:
        picture.point(lambda grey: grey // 255).save(mask)
    return mask


def _no_label(data: Path) -> Path:
    table = data / ISIC / "ISIC-2017_Validation_Part3_GroundTruth.csv"
    header, first, *lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([header, *lines]))
    return data / ISIC / f"ISIC-2017_Validation_Data/{first.partition(',')[0]}.jpg"


def _row_without_image(data: Path) -> Path:
    with (data / ISIC / "ISIC-2017_Validation_Part3_GroundTruth.csv").open("a") as file:
        file.write("ISIC_7654321,0.0,0.0\n")
    return data / ISIC / "ISIC-2017_Validation_Data/ISIC_7654321.jpg"


BAD_PAIRS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a mask of another size": (_other_size, r"is 40 x 20, and its image 42 x 32; replace it by the published file"),
    "a mask that is missing": (_no_mask, r"no such image; the data set is incomplete, unpack it again"),
    "a mask of zeros and ones": (_grey_mask, r"not a mask of black and white \(its brightest pixel is at 0.4%\)"),
    "an image without a label": (_no_label, r"has no row in ISIC-2017_Validation_Part3_GroundTruth.csv; mend it"),
    "a row without an image": (_row_without_image, r"no such image; the data set is incomplete, unpack it again"),
}


@pytest.mark.parametrize("kind", BAD_PAIRS)
def test_what_does_not_belong_together_is_named_in_one_line_or_left_out(kind: str, data: Path) -> None:
    spoil, message = BAD_PAIRS[kind]
    n_images = len(list((data / ISIC / "ISIC-2017_Validation_Data").glob("*.jpg")))
    bad = spoil(data)
    with pytest.raises((ValueError, OSError), match=f"^{bad}: {message}[^\n]*$"):
        list(ISIC2017ResNet50(size=SIDE).batches(4))
    skipping = ISIC2017ResNet50(size=SIDE, skip_unreadable=True)
    ((_, reason),) = skipping.skipped("heldout")
    assert reason.startswith(str(bad))
    assert sum(len(batch.ids) for batch in skipping.batches(4)) == n_images - (kind != "a row without an image")


def _with_row(row: str) -> Callable[[bytes], bytes]:
    return lambda content: content + row.encode()


BAD_TABLES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "an id that is there twice": (_with_row("ISIC_1,0,0\nISIC_1,0,0\n"), r"line \d+: ISIC_1 is there twice"),
    "a bad number": (_with_row("ISIC_1,zero,0\n"), r"line \d+: melanoma 'zero' and seborrheic_keratosis '0' are no"),
    "an empty cell": (_with_row("ISIC_1,,0\n"), r"line \d+: melanoma ''"),
    "a row too short": (_with_row("ISIC_1,0\n"), r"line \d+: it does not have 3 cells as the header"),
    "a row too long": (_with_row("ISIC_1,0,0,0\n"), r"line \d+: it does not have 3 cells as the header"),
    "an open quote": (_with_row('ISIC_1,"0,0\n'), r"unexpected end of data"),
    "Latin letters": (lambda content: content + "Müller,0,0\n".encode("latin-1"), r"is not UTF-8 text"),
    "another encoding": (lambda content: content.decode().encode("utf-16"), r"is not UTF-8 text"),
    "semicolons": (lambda content: content.replace(b",", b";"), r"has ';' between its cells, not commas"),
    "tabs": (lambda content: content.replace(b",", b"\t"), r"has '\\t' between its cells, not commas"),
    "nothing": (lambda _: b"", r"is empty"),
    "a header alone": (lambda content: content.splitlines()[0], r"has no row below its header"),
    "a column missing": (lambda content: content.replace(b"melanoma", b"mel"), r"has no column melanoma"),
    "a column twice": (
        lambda content: content.replace(b"melanoma,", b"melanoma,melanoma,", 1),
        r"has two columns called melanoma",
    ),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_table_is_named_in_one_line(kind: str, data: Path) -> None:
    change, message = BAD_TABLES[kind]
    table = data / ISIC / "ISIC-2017_Validation_Part3_GroundTruth.csv"
    table.write_bytes(change(table.read_bytes()))
    for skip in (False, True):  # a table is not skipped
        with pytest.raises(ValueError, match=f"^{table}: [^\n]*{message}[^\n]*; replace it by the published file$"):
            ISIC2017ResNet50(size=SIDE, skip_unreadable=skip).samples()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content + b"\n\n",
        lambda content: content.replace(b".0,", b".0 , "),
        lambda content: content.rstrip(),
    ],
    ids=["byte order mark", "CRLF", "blank lines", "blanks", "no last newline"],
)
def test_a_table_written_otherwise_is_read_the_same(change: Callable[[bytes], bytes], data: Path) -> None:
    task = ISIC2017ResNet50(size=SIDE)
    before = [batch.labels.tolist() for batch in task.batches(4)]
    table = data / ISIC / "ISIC-2017_Validation_Part3_GroundTruth.csv"
    table.write_bytes(change(table.read_bytes()))
    assert [batch.labels.tolist() for batch in task.batches(4)] == before


BAD_ROWS = {
    "a box outside of the image": ("1,glioma_tumor,512,512,500,10,520,40", "the box does not lie within the image"),
    "a box of no area": ("1,glioma_tumor,512,512,30,10,30,40", "the box does not lie within the image"),
    "a box that is no number": ("1,glioma_tumor,512,512,nan,nan,nan,nan", "the box does not lie within the image"),
    "an image of no size": ("1,glioma_tumor,0,0,0,0,0,0", "the box does not lie within the image"),
    "an image without end": ("1,glioma_tumor,inf,inf,0,0,1,1", "the box does not lie within the image"),
    "a box in words": ("1,glioma_tumor,512,512,left,top,right,bottom", "could not convert string to float: 'left'"),
    "a number in words": ("one,glioma_tumor,512,512,1,1,2,2", "could not convert string to float: 'one'"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_box_is_named_in_one_line(kind: str, data: Path) -> None:
    row, message = BAD_ROWS[kind]
    table = data / BRAIN / "annotations/images.csv"
    with table.open("a") as file:
        file.write(f"Training/glioma_tumor/x.jpg,train,glioma_tumor,{row}\n")
    with pytest.raises(ValueError, match=rf"^{table}: line \d+: {message}; restore the table that came with the data$"):
        BrainTumorMRI(size=SIDE).samples()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.jpg,train,unicorn,,,,,,,,", "the label 'unicorn' is none of glioma_tumor, meningioma_tumor"),
        ("a.jpg,trian,no_tumor,,,,,,,,", "the part 'trian' is none of train"),
        ("a.jpg,train,no_tumor,,,,,,,,\na.jpg,heldout,no_tumor,,,,,,,,", "a.jpg is there twice"),
        ("../../../x.jpg,heldout,no_tumor,,,,,,,,", "x.jpg: leads out of the data set, to "),
    ],
)
def test_a_row_that_makes_no_sense_is_named(row: str, message: str, data: Path) -> None:
    table = data / BRAIN / "annotations/images.csv"
    with table.open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises((ValueError, OSError)) as caught:
        list(BrainTumorMRI(size=SIDE).batches(4))
    assert "\n" not in str(caught.value)
    assert message in str(caught.value)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "an empty class": (_empty, r"holds no picture; the data set is incomplete, unpack it again"),
    "a class that is missing": (lambda path: path.rename(path.parent / "gone"), r"no such folder; the data set is inc"),
    "a class in small letters": (
        lambda path: path.rename(path.parent / "covid"),
        r"no such folder \(there is 'covid': rename it\); the data set is incomplete",
    ),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_a_bad_folder_is_named_in_one_line(kind: str, data: Path) -> None:
    spoil, message = BAD_FOLDERS[kind]
    spoil(data / CT / "COVID")
    with pytest.raises(FileNotFoundError, match=f"^{data}/{CT}/COVID: {message}[^\n]*$"):
        SARSCoV2CT(size=SIDE).samples()
    if kind != "an empty class":
        assert f"no {data}/{CT}/COVID" in str(SARSCoV2CT().missing_data())


def _ids(task: PublishedTask) -> list[str]:
    parts = [task.part(part) for part in PARTS]
    return [part[index].id for part in parts for index in range(len(part))]


@pytest.mark.parametrize(
    "add",
    [
        lambda folder: (folder / "other").mkdir() or _png(folder / "other/Other (1).png"),
        lambda folder: (folder / "COVID/.DS_Store").write_bytes(b"x"),
        lambda folder: (folder / "COVID/._Covid (1).png").write_bytes(b"x"),
        lambda folder: (folder / "COVID/Thumbs.db").write_bytes(b"x"),
        lambda folder: (folder / "COVID/readme.txt").write_text("x"),
    ],
    ids=["another class", "left by a Mac", "hidden", "left by Windows", "text"],
)
def test_what_is_no_part_of_the_data_set_does_not_matter(add: Callable[[Path], object], data: Path) -> None:
    before = _ids(SARSCoV2CT(size=SIDE))
    add(data / CT)
    assert _ids(SARSCoV2CT(size=SIDE)) == before


def test_endings_in_capitals_are_read(data: Path) -> None:
    n_images = {kind: len(kind(size=SIDE).part("heldout")) for kind in (SARSCoV2CT, ISIC2017ResNet50)}
    for path in [*(data / CT).rglob("*.png"), *(data / ISIC).rglob("*.jpg")]:
        path.rename(path.with_suffix(path.suffix.upper()))
    for kind, n in n_images.items():
        assert sum(len(batch.ids) for batch in kind(size=SIDE).batches(4)) == n


def test_a_part_without_a_readable_picture_is_an_error(data: Path) -> None:
    for path in (data / CT).rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"^{data}/{CT}: there is no picture of the part 'heldout'"):
        SARSCoV2CT(size=SIDE, skip_unreadable=True).samples()


def test_links_within_the_data_set_are_followed(data: Path) -> None:
    original = _ct(data)
    original.rename(data / CT / "kept.png")
    original.symlink_to("../kept.png")
    assert SARSCoV2CT(size=SIDE).samples()[0].id == "COVID/Covid (13).png"


def test_a_data_set_that_is_a_link_as_a_whole_is_read(data: Path, tmp_path: Path) -> None:
    (data / CT).rename(tmp_path / "large disk")
    (data / CT).symlink_to(tmp_path / "large disk", target_is_directory=True)
    assert SARSCoV2CT(size=SIDE).samples()[0].id == "COVID/Covid (13).png"


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("run",)


def _checkpoint(path: Path) -> torch.nn.Module:
    model = torch.nn.Linear(3, 2)
    save_checkpoint(path, model, {"classes": ["no", "yes"]})
    return model


def _nan(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({key: value * float("nan") for key, value in load_file(path).items()}, path, metadata)


BAD_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-4]), r"not a readable checkpoint \(.*\)"),
    "of other classes": (
        lambda path: save_checkpoint(path, torch.nn.Linear(3, 2), {"classes": ["cat", "dog"]}),
        r"made for the classes \['cat', 'dog'\], not \['no', 'yes'\]",
    ),
    "not finite": (_nan, r"weight is not finite|bias is not finite"),
    "a pickle": (lambda path: torch.save(_Code(), path), r"not a readable checkpoint \(.*\)"),
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
def test_a_bad_checkpoint_is_named_in_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spoil, message = BAD_CHECKPOINTS[kind]
    path = tmp_path / "mine.safetensors"
    model = _checkpoint(path)
    spoil(path)
    with pytest.raises(ValueError, match=rf"^{path}: ({message})[^\n]*; delete it and run `bench train mine`$"):
        load_checkpoint(path, model, ("no", "yes"))
    assert not (tmp_path / "run").exists()


def test_foreign_weights_with_code_in_them_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(2), "code": _Code()}, tmp_path / "foreign.pth")
    with pytest.raises(ValueError, match=r"^[^\n]*foreign.pth: not readable as weights [^\n]*; give a .pth file that"):
        read_initial_weights(tmp_path / "foreign.pth")
    assert not (tmp_path / "run").exists()
