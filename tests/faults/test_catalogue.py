"""The catalogue: corruptions of sound footage, each seen by the rule meant for it, at its place.

`make test` spoils the miniature of the demo world, `make faults` the demo itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.faults.acts import (
    ABSENCE,
    COVER,
    Act,
    K,
    add_image_of_same_number,
    annotate_beyond_the_end,
    break_png,
    change_boxes,
    change_class_midway,
    copy_image,
    copy_sequence,
    cut_to_another_scene,
    delete_image,
    draw_bomb,
    empty_annotation,
    encode_repeat,
    enlarge_image,
    explode,
    forget_last_line,
    freeze,
    go_beyond_the_border,
    hide,
    jump,
    label,
    leave_box_of_absent,
    leave_one_of_split,
    lose_annotation,
    lose_decimal_point,
    lose_meta,
    lose_split,
    misstate_size,
    name_class,
    overstate_length,
    pack_a_second_time,
    put_box,
    put_bytes,
    put_line,
    repeat_image,
    save_as,
    scale_footage,
    skip_numbers,
    thin_class,
    turn_image,
)
from tests.faults.conftest import PARAMS, Places, Scene
from trackline.data.rules import RULES


class Fault(NamedTuple):
    """What is done, the rule that must see it, and rules that rightly see it too."""

    act: Act
    rule: str
    also: tuple[str, ...] = ()


IMAGE = "each annotated frame has an image"
LINE = "each image has an annotation"
DECODES = "each image decodes"
FINITE, POSITIVE = "boxes are finite", "boxes are positive"
INSIDE = "boxes are inside their image"
MOVES, GROWS = "targets move plausibly", "boxes change size plausibly"
AGREE = "absence and cover agree"
CLASS = "classes are known"
LEAK, TWIN = "no image is in two splits", "no image is in two sequences"
ALIKE = "no sequence resembles one of another split"
REPEAT = "consecutive images differ"
ONE_SIZE = "one size in a sequence"

FAULTS = {
    "the first image is gone": Fault(delete_image(0), IMAGE),
    "an image in the middle is gone": Fault(delete_image(K), IMAGE),
    "the last image is gone": Fault(delete_image(-1), IMAGE),
    "a line beyond the last image": Fault(annotate_beyond_the_end, IMAGE),
    "the last line is gone": Fault(forget_last_line, LINE),
    "an empty annotation": Fault(empty_annotation, LINE),
    "no annotation": Fault(lose_annotation, LINE),
    "two images of one number": Fault(add_image_of_same_number, "each frame occurs once"),
    "loose and in a shard": Fault(pack_a_second_time, "each frame occurs once"),
    "numbers are skipped": Fault(skip_numbers, "frames are contiguous", (LINE,)),
    "an image cut short": Fault(put_bytes(lambda data: data[: len(data) // 2]), DECODES),
    "an image that lacks its end": Fault(put_bytes(lambda data: data[:-300]), DECODES),
    "an image of no bytes": Fault(put_bytes(lambda data: b""), DECODES),
    "an image whose head is zeros": Fault(put_bytes(lambda data: bytes(20) + data[20:]), DECODES),
    "a page instead of an image": Fault(put_bytes(lambda data: b"<html>404</html>"), DECODES),
    "a bitmap called .jpg": Fault(save_as("BMP"), DECODES),
    "a GIF called .jpg": Fault(save_as("GIF"), DECODES),
    "a PNG cut short": Fault(break_png, DECODES),
    "a bomb of 144 million pixels": Fault(draw_bomb(12_000), "images are not gigantic", (ONE_SIZE,)),
    "a bomb of 3.6 billion pixels": Fault(draw_bomb(60_000), "images are not gigantic", (ONE_SIZE,)),
    "one image of twice the size": Fault(enlarge_image, ONE_SIZE),
    "one image on its side": Fault(turn_image, ONE_SIZE),
    "footage scaled after annotation": Fault(scale_footage, "images have the stated size"),
    "a wrong size in the meta file": Fault(misstate_size, "images have the stated size"),
    "an image repeats": Fault(repeat_image, REPEAT),
    "an image repeats, encoded anew, while the box moves": Fault(encode_repeat, REPEAT),
    "an image of another sequence": Fault(copy_image("train"), TWIN),
    "a training image in the test": Fault(copy_image("test"), LEAK),
    "a sequence under two names": Fault(copy_sequence("train"), TWIN),
    "a training sequence in the test": Fault(copy_sequence("test"), LEAK),
    "a training sequence in the test, encoded anew": Fault(copy_sequence("test", 60), ALIKE),
    "a training sequence in val, scaled": Fault(copy_sequence("val", 90, 1.5), ALIKE),
    "NaN": Fault(put_line("NaN,NaN,NaN,NaN"), FINITE),
    "infinite": Fault(put_line("10,10,inf,10"), FINITE),
    "words": Fault(put_line("left,top,width,height"), FINITE),
    "three numbers": Fault(put_line("10,10,20"), FINITE),
    "five numbers": Fault(put_line("10,10,20,20,1"), FINITE),
    "an empty line": Fault(put_line(""), FINITE),
    "decimal commas": Fault(put_line("10,5,10,5,20,5,20,5"), FINITE),
    "no width": Fault(put_box(lambda x, y, w, h: (x, y, 0, h)), POSITIVE),
    "a negative height": Fault(put_box(lambda x, y, w, h: (x, y, w, -h)), POSITIVE),
    "all zeros": Fault(put_box(lambda x, y, w, h: (0, 0, 0, 0)), POSITIVE),
    "left of the image": Fault(put_box(lambda x, y, w, h: (-3, y, w, h)), INSIDE),
    "below the image": Fault(put_box(lambda x, y, w, h: (x, 116, w, h)), INSIDE),
    "in another image altogether": Fault(put_box(lambda x, y, w, h: (900, 700, w, h)), INSIDE),
    "corners instead of sizes": Fault(change_boxes(lambda x, y, w, h: (x, y, x + w, y + h)), INSIDE),
    "boxes of an image of three times the size": Fault(
        change_boxes(lambda x, y, w, h: (3 * x, 3 * y, 3 * w, 3 * h)), INSIDE
    ),
    "beyond the border, where boxes may": Fault(
        go_beyond_the_border, "boxes end at the border of their image"
    ),
    "a jump and back": Fault(jump, MOVES),
    "a cut to another scene": Fault(cut_to_another_scene, MOVES),
    "a box grows twelvefold": Fault(explode, GROWS),
    "a lost decimal point": Fault(lose_decimal_point, GROWS),
    "a placeholder": Fault(freeze, "boxes are alive"),
    "absent, yet covered by nothing": Fault(label(ABSENCE, "1"), AGREE),
    "visible, yet covered": Fault(label(COVER, "0"), AGREE),
    "nine eighths visible": Fault(label(COVER, "9"), AGREE),
    "a cover too few": Fault(label(COVER, None), AGREE),
    "an absent target with a box": Fault(leave_box_of_absent, "absent targets have no box"),
    "absent at first": Fault(hide(0), "the target is visible at first"),
    "absent throughout": Fault(hide(), "enough visible frames", ("the target is visible at first",)),
    "a misspelt class": Fault(name_class("aeroplnae"), CLASS),
    "a class in capitals": Fault(name_class("CAR"), CLASS),
    "no class": Fault(name_class(None), CLASS),
    "no meta file": Fault(lose_meta, CLASS),
    "the class changes midway": Fault(change_class_midway, "one class in a sequence"),
    "an overstated length": Fault(overstate_length, "footage has the stated length"),
    "no validation split": Fault(lose_split, "each split has enough sequences"),
    "a single validation sequence": Fault(leave_one_of_split, "each split has enough sequences"),
    "a class that is never trained": Fault(thin_class(0), "each class is trained"),
    "a class trained once": Fault(thin_class(1), "classes are balanced"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(name: str, scene: Scene) -> None:
    act, rule, also = FAULTS[name]
    places = act(scene)
    assert places
    broken = scene.judge()
    assert broken.get(rule) == places
    assert set(broken) - {rule} <= set(also)


@pytest.fixture(scope="module")
def alarms(sound: tuple[Path, pd.DataFrame]) -> dict[str, Places]:
    """What the rules find in sound footage."""
    return Scene(*sound, PARAMS.validate).judge()


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_sound_data(rule: str, alarms: dict[str, Places]) -> None:
    assert rule not in alarms


def test_every_rule_has_a_fault_of_its_own() -> None:
    assert {fault.rule for fault in FAULTS.values()} == {rule.name for rule in RULES}
