import re
from pathlib import Path

from paretune.bench.advice import AXES, Advice
from paretune.bench.advice.scorers import ROOM

PAGE = (Path(__file__).parents[3] / "docs" / "explanation" / "advice.md").read_text("utf-8")


def test_sizes_of_the_page_are_those_of_the_world():
    assert f"{len(Advice().tokenizer())} tokens" in PAGE
    assert f"at most {ROOM} words" in PAGE and f"reads {ROOM} words" in PAGE


def test_fronts_of_the_page_are_the_known_ones():
    rows = re.findall(
        r"^\| (all six|[a-z, ]+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    )
    assert len(rows) == 4
    for names, replies, hull, volume in rows:
        axes = AXES if names == "all six" else tuple(names.split(", "))
        front = Advice(axes).known_front()
        found = (len(front.replies), len(front.hull), f"{front.hypervolume:.4f}")
        assert found == (int(replies), int(hull), volume), names
