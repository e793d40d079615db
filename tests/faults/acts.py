"""Acts of vandalism on sound footage; each returns the places where a rule must see it."""

from __future__ import annotations

import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from tests.faults.conftest import Places, Scene

K = 2  # the frame that is spoilt
COVER, ABSENCE, META = "cover.label", "absence.label", "meta_info.ini"
Act = Callable[[Scene], Places]


# images and annotation do not pair up


def delete_image(frame: int) -> Act:
    def act(scene: Scene) -> Places:
        frame_ = frame % scene.frames
        scene.image(frame_).unlink()
        return scene.at(frame_)

    return act


def annotate_beyond_the_end(scene: Scene) -> Places:
    scene.edit(scene.frames, ",".join(map(str, scene.boxes()[-1])))
    scene.edit(scene.frames, "8", COVER)
    scene.edit(scene.frames, "0", ABSENCE)
    return scene.at(scene.frames)


def forget_last_line(scene: Scene) -> Places:
    scene.edit(scene.frames - 1, None)
    return scene.at(scene.frames - 1)


def empty_annotation(scene: Scene) -> Places:
    (scene.open() / "groundtruth.txt").write_bytes(b"")
    return scene.whole()


def lose_annotation(scene: Scene) -> Places:
    (scene.open() / "groundtruth.txt").unlink()
    return scene.whole()


def add_image_of_same_number(scene: Scene) -> Places:
    image = Image.open(scene.image(K)).point(lambda value: value // 2)
    image.save(scene.open() / f"{K + 1:08d}.png")
    return scene.at(K)


def pack_a_second_time(scene: Scene) -> Places:
    folder = scene.open()
    with tarfile.open(folder.parent / "again.tar", "w") as tar:
        for file in sorted(folder.glob("*.jpg")):
            tar.add(file, f"{folder.name}/{file.name}")
    return scene.whole()


def skip_numbers(scene: Scene) -> Places:
    last = scene.image(scene.frames - 1)
    Image.open(last).point(lambda value: value // 2).save(last.with_name("00000099.jpg"))
    return scene.at(98)


# images are damaged


def put_bytes(change: Callable[[bytes], bytes]) -> Act:
    def act(scene: Scene) -> Places:
        file = scene.image(K)
        file.write_bytes(change(file.read_bytes()))
        return scene.at(K)

    return act


def save_as(kind: str) -> Act:
    def act(scene: Scene) -> Places:
        Image.open(scene.image(K)).convert("RGB").save(scene.image(K), kind)
        return scene.at(K)

    return act


def break_png(scene: Scene) -> Places:
    image = Image.open(scene.image(K))
    file = scene.image(K).with_suffix(".png")
    image.save(file)
    scene.image(K).unlink()
    file.write_bytes(file.read_bytes()[:-2000])
    return scene.at(K)


def draw_bomb(side: int) -> Act:
    """A PNG of a few kilobytes that unfolds to gigabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    def act(scene: Scene) -> Places:
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        data = zlib.compress(b"\0" * 10**6)
        scene.image(K).unlink()
        scene.image(K).with_suffix(".png").write_bytes(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", data)
            + chunk(b"IEND", b"")
        )
        return scene.at(K)

    return act


def enlarge_image(scene: Scene) -> Places:
    image = Image.open(scene.image(K))
    image.resize((image.width * 2, image.height * 2)).save(scene.image(K), quality=90)
    return scene.at(K)


def turn_image(scene: Scene) -> Places:
    """A phone held upright: the bytes lie on their side, and a tag says so."""
    scene.write_boxes(scene.walk())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(scene.image(K)).save(scene.image(K), quality=90, exif=exif)
    return scene.at(K)


def scale_footage(scene: Scene) -> Places:
    for frame in range(scene.frames):
        image = Image.open(scene.image(frame))
        image.resize((image.width * 2, image.height * 2)).save(scene.image(frame), quality=90)
    return scene.at(0)


def misstate_size(scene: Scene) -> Places:
    meta = scene.open() / META
    lines = [ln for ln in meta.read_text().splitlines() if not ln.startswith("resolution")]
    meta.write_text("\n".join([*lines, "resolution: (1280, 720)"]))
    return scene.at(0)


# images occur twice


def repeat_image(scene: Scene) -> Places:
    shutil.copyfile(scene.image(K - 1), scene.image(K))
    return scene.at(K)


def encode_repeat(scene: Scene) -> Places:
    boxes = scene.walk()
    boxes[K:] = [(x + 20, *rest) for x, *rest in boxes[K:]]
    scene.write_boxes(boxes)
    Image.open(scene.image(K - 1)).save(scene.image(K), quality=95)
    return scene.at(K)


def copy_image(split: str) -> Act:
    def act(scene: Scene) -> Places:
        other = scene.steady[1] if split == "train" else scene.of(split)
        shutil.copyfile(scene.image(K), scene.image(K, other))
        return scene.at(K, name=other)

    return act


def copy_sequence(split: str, quality: int = 0, scale: float = 1.0) -> Act:
    """The same footage under another name, encoded or scaled anew."""

    def act(scene: Scene) -> Places:
        copy = scene.root / split / "zz_copy"
        shutil.copytree(scene.open(), copy)
        for file in copy.glob("*.jpg") if quality else ():
            image = Image.open(file)
            size = round(image.width * scale), round(image.height * scale)
            image.resize(size).save(file, quality=quality)
        if scale != 1:
            boxes = "".join(
                ",".join(f"{v * scale:.2f}" for v in box) + "\n" for box in scene.boxes()
            )
            (copy / "groundtruth.txt").write_text(boxes)
            meta = copy / META
            lines = [ln for ln in meta.read_text().splitlines() if "resolution" not in ln]
            meta.write_text("\n".join(lines))
        return {"zz_copy/0"} if quality else {f"zz_copy/{k}" for k in range(scene.frames)}

    return act


# boxes are wrong


def put_line(text: str) -> Act:
    def act(scene: Scene) -> Places:
        scene.edit(K, text)
        return scene.at(K)

    return act


def put_box(change: Callable[[float, float, float, float], tuple[float, ...]]) -> Act:
    """Change the box of one frame of a small, slow target."""

    def act(scene: Scene) -> Places:
        boxes = scene.walk()
        boxes[K] = change(*boxes[K])
        scene.write_boxes(boxes)
        return scene.at(K)

    return act


def change_boxes(change: Callable[[float, float, float, float], tuple[float, ...]]) -> Act:
    """Write all boxes in another convention; the frames in which that shows must be named."""

    def act(scene: Scene) -> Places:
        rows, boxes = scene.rows(scene.name), [change(*box) for box in scene.boxes()]
        scene.write_boxes(boxes)
        width, height = rows["width"].iloc[0] + 1, rows["height"].iloc[0] + 1
        return scene.at(
            *(k for k, (x, y, w, h) in enumerate(boxes) if x + w > width or y + h > height)
        )

    return act


def jump(scene: Scene) -> Places:
    boxes = scene.walk()
    boxes[K] = (140, 100, 8, 8)
    scene.write_boxes(boxes)
    return scene.at(K, K + 1)


def cut_to_another_scene(scene: Scene) -> Places:
    boxes = scene.walk()
    boxes[K:] = [(x + 70, y + 50, w, h) for x, y, w, h in boxes[K:]]
    scene.write_boxes(boxes)
    return scene.at(K)


def explode(scene: Scene) -> Places:
    boxes = scene.walk()
    boxes[K] = (boxes[K][0] - 10, boxes[K][1] - 10, 28, 28)
    scene.write_boxes(boxes)
    return scene.at(K, K + 1)


def lose_decimal_point(scene: Scene) -> Places:
    boxes = scene.walk()
    boxes[K] = (boxes[K][0], boxes[K][1], 80, 8)
    scene.write_boxes(boxes)
    return scene.at(K, K + 1)


def freeze(scene: Scene) -> Places:
    scene.write_boxes([(40, 50, 8, 8)] * scene.frames)
    return scene.whole()


def go_beyond_the_border(scene: Scene) -> Places:
    """As layouts may whose boxes go on where the target does."""
    boxes = scene.walk()
    boxes[K] = (-4, *boxes[K][1:])
    scene.write_boxes(
        [(x - 40, *rest) if k != K else boxes[K] for k, (x, *rest) in enumerate(boxes)]
    )
    scene.spoil = lambda table: table.assign(amodal=table["sequence"] == scene.name)
    return scene.at(K)


# labels, classes and splits


def label(file: str, text: str | None, line: int = K) -> Act:
    def act(scene: Scene) -> Places:
        at = line % scene.frames
        scene.edit(at, text, file)
        return scene.at(scene.frames - 1 if text is None else at)

    return act


def hide(*frames: int) -> Act:
    """Mark frames as absent, consistently."""

    def act(scene: Scene) -> Places:
        for frame in frames or range(scene.frames):
            scene.edit(frame, "1", ABSENCE)
            scene.edit(frame, "0", COVER)
        return scene.at(0)

    return act


def leave_box_of_absent(scene: Scene) -> Places:
    (scene.open() / COVER).unlink()
    scene.edit(K, "1", ABSENCE)
    return scene.at(K)


def name_class(text: str | None) -> Act:
    def act(scene: Scene) -> Places:
        meta = scene.open() / META
        lines = [ln for ln in meta.read_text().splitlines() if not ln.startswith("object_class")]
        meta.write_text("\n".join(lines + ([] if text is None else [f"object_class: {text}"])))
        return scene.at(0)

    return act


def lose_meta(scene: Scene) -> Places:
    (scene.open() / META).unlink()
    return scene.at(0)


def change_class_midway(scene: Scene) -> Places:
    other = next(
        c for c in scene.sound["class"].unique() if c != scene.rows(scene.name)["class"].iloc[0]
    )

    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        late = (table["sequence"] == scene.name) & (table["frame"] >= K)
        return table.assign(**{"class": table["class"].where(~late, other)})

    scene.spoil = spoil
    return scene.at(*range(K, scene.frames))


def overstate_length(scene: Scene) -> Places:
    scene.spoil = lambda table: table.assign(
        stated_frames=np.where(table["sequence"] == scene.name, 600, 0)
    )
    return scene.at(0)


def lose_split(scene: Scene) -> Places:
    shutil.rmtree(scene.root / "val")
    return {"val"}


def leave_one_of_split(scene: Scene) -> Places:
    for folder in sorted((scene.root / "val").iterdir())[1:]:
        shutil.rmtree(folder)
    return {"val"}


def thin_class(left: int) -> Act:
    """Take sequences of the first class out of training."""

    def act(scene: Scene) -> Places:
        heads = scene.sound.drop_duplicates("sequence")
        train = heads[heads["split"] == "train"]
        label = heads.loc[heads["split"] == "test", "class"].iloc[0]
        for name in train.loc[train["class"] == label, "sequence"].tolist()[left:]:
            shutil.rmtree(scene.root / "train" / name)
        if left:
            most = train["class"].value_counts().max()
            for k in range(max(0, int(scene.limits.max_imbalance) + 1 - most)):
                clone(scene, train.loc[train["class"] != label, "sequence"].iloc[0], k)
            return {"train"}
        return (
            {"test"}
            if (heads.loc[heads["split"] == "val", "class"] != label).all()
            else {"val", "test"}
        )

    return act


def clone(scene: Scene, name: str, number: int) -> None:
    """A sequence of its own: every image with another frame of grey noise."""
    copy = scene.root / "train" / f"zz_{number:03d}"
    shutil.copytree(scene.root / "train" / name, copy)
    noise = np.random.default_rng(number)
    for file in copy.glob("*.jpg"):
        cv2.imwrite(str(file), noise.integers(0, 255, (120, 160, 3), dtype=np.uint8))
