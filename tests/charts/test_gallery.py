import base64
import cProfile
import json
import re
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from components.charts import Figure, measure_table
from components.charts.colours import glaze_levels, glaze_palette
from components.charts.gallery import PICK_FROM_GALLERY, gallery_chart, gallery_tiles
from components.ssd import MEASURES, Head, Place, pooled_attention
from tests.charts.conftest import random_terms

DISTANCE, HALF_LIFE = MEASURES.values()


def noise(heads: int, tiles: int) -> np.ndarray:
    """What compresses worst."""
    return np.tril(np.random.default_rng(heads).random((heads, tiles, tiles), dtype=np.float32))


def measured(layers: int, heads: int) -> pd.DataFrame:
    """A `measure_table` in which the later a head, the nearer it reads."""
    count = layers * heads
    return pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), heads),
            "kind": "mamba2",
            "head": np.tile(np.arange(heads), layers),
            "half_life": np.arange(count, dtype=np.float32) + 1,
            "mean_distance": np.arange(count, dtype=np.float32)[::-1].copy(),
        }
    )


def gallery(layers: int, heads: int, tiles: int | None = None, **options: Any) -> tuple[np.ndarray, Figure]:
    pictures = noise(layers * heads, tiles or gallery_tiles(layers * heads))
    return pictures, gallery_chart(pictures, measured(layers, heads), Head(Place(0), 0), **options)


def fact(figure: Figure, name: str) -> int:
    return int(figure.tables["scene"].loc[0, name])


def pixels(figure: Figure) -> np.ndarray:
    """The image of all pictures, as red, green, blue, opacity."""
    address = figure.tables["picture"].loc[0, "url"]
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA"))


def place(figure: Figure, layer: int, head: int) -> tuple[int, int]:
    """Row and column of a head."""
    heads = figure.tables["heads"]
    row = heads[(heads["layer"] == layer) & (heads["head"] == head)]
    return divmod(int(row["slot"].item()), fact(figure, "across"))


def drawn(figure: Figure, row: int, column: int) -> np.ndarray:
    """What stands in a cell, without its gap."""
    dots = fact(figure, "dots")
    top, left = row * (dots + 1) + 1, column * (dots + 1) + 1
    return pixels(figure)[top : top + dots, left : left + dots]


def colours(strengths: np.ndarray) -> np.ndarray:
    return glaze_palette()[glaze_levels(strengths)]


def order(figure: Figure) -> list[tuple[int, int]]:
    rows = figure.tables["heads"].sort_values("slot")
    return list(zip(rows["layer"], rows["head"], strict=True))


def sent(figure: Figure) -> int:
    """Bytes of all tables as the page sends them."""
    total = 0
    for table in figure.tables.values():
        rows = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows)
        total += stream.getvalue().size
    return total


@pytest.mark.parametrize(
    ("heads", "tiles"), [(1, 64), (32, 64), (144, 64), (145, 63), (576, 32), (5120, 10), (10_000, 8)]
)
def test_all_pictures_together_have_a_bounded_number_of_pixels(heads: int, tiles: int) -> None:
    assert gallery_tiles(heads) == tiles
    assert heads * tiles**2 <= 590_000 or tiles == 8


@pytest.mark.parametrize("sort", [None, DISTANCE])
@pytest.mark.parametrize("larger", [False, True])
def test_a_gallery_is_a_valid_chart_with_every_table_it_names(sort: Any, larger: bool) -> None:
    _, figure = gallery(2, 3, sort=sort, larger=larger)
    alt.LayerChart.validate(figure.specification())
    named = {layer["data"]["name"] for layer in figure.chart["layer"]}
    assert named == set(figure.tables)
    assert set(re.findall(r"data\('(\w+)'\)", json.dumps(figure.chart))) <= named


@pytest.mark.parametrize("sort", [None, DISTANCE])
def test_every_text_model_and_pick_has_the_same_chart(sort: Any) -> None:
    one = gallery_chart(noise(6, 1), measured(2, 3), Head(Place(1), 2), sort=sort, locked=True)
    assert one.chart is gallery(24, 24, sort=sort)[1].chart
    assert one.chart is not gallery(2, 3, sort=sort, larger=True)[1].chart


def test_sorting_by_another_measure_keeps_the_chart() -> None:
    assert gallery(2, 3, sort=DISTANCE)[1].chart is gallery(2, 3, sort=HALF_LIFE)[1].chart


def test_each_picture_stands_at_its_layer_and_head() -> None:
    pictures, figure = gallery(3, 5)
    for k, picture in enumerate(pictures):
        layer, head = divmod(k, 5)
        assert place(figure, layer, head) == (layer, head)
        np.testing.assert_array_equal(drawn(figure, layer, head), colours(picture / picture.max()))


def test_layers_without_heads_leave_no_row() -> None:
    measures = measure_table({Place(1): random_terms(9), Place(3): random_terms(8)})
    figure = gallery_chart(noise(6, 9), measures, Head(Place(3), 1))
    assert figure.tables["layers"]["layer"].tolist() == ["1", "3"]
    assert place(figure, 3, 1) == (1, 1)
    assert figure.tables["picked"]["slot"].tolist() == [4]


def test_real_attention_is_drawn_below_the_diagonal_only() -> None:
    terms = random_terms(30)
    pictures = pooled_attention(terms, tiles=gallery_tiles(terms.heads), statistic="rms")[0].numpy()
    figure = gallery_chart(pictures, measure_table({Place(0): terms}), Head(Place(0), 0))
    dots = fact(figure, "dots")
    assert dots == 60  # 30 tokens twice, in the room of 64
    for head in range(terms.heads):
        picture = drawn(figure, 0, head)
        np.testing.assert_array_equal(picture[::2, ::2], colours(pictures[head] / pictures[head].max()))
        np.testing.assert_array_equal(picture[::2, ::2], picture[1::2, 1::2])
        assert (picture[::2, ::2, 3][np.triu_indices(30, 1)] == 0).all()
        assert picture[..., 3].max() == 255


def test_gaps_are_transparent() -> None:
    _, figure = gallery(2, 3)
    opacity, pitch = pixels(figure)[..., 3], fact(figure, "dots") + 1
    assert opacity.shape == (2 * pitch, 3 * pitch)
    assert not opacity[::pitch].any()
    assert not opacity[:, ::pitch].any()


@pytest.mark.parametrize(("layers", "heads", "across"), [(4, 8, 8), (24, 24, 24), (64, 80, 80), (2, 128, 20)])
def test_sorted_pictures_fill_a_page_row_by_row(layers: int, heads: int, across: int) -> None:
    pictures, figure = gallery(layers, heads, tiles=2, sort=HALF_LIFE)
    assert fact(figure, "across") == across
    assert fact(figure, "down") == -(-layers * heads // across)
    assert place(figure, layers - 1, heads - 1) == (0, 0)
    assert place(figure, 0, 0) == divmod(layers * heads - 1, across)
    second = pictures[-2] / pictures[-2].max()
    times = fact(figure, "dots") // 2
    np.testing.assert_array_equal(drawn(figure, 0, 1)[::times, ::times], colours(second))


def test_few_heads_need_few_columns() -> None:
    assert fact(gallery(1, 3, sort=DISTANCE)[1], "across") == 3
    assert fact(gallery(10, 2, sort=DISTANCE)[1], "across") == 8


def test_sorting_begins_with_what_never_decays_and_ends_with_what_reads_nothing() -> None:
    measures = measured(1, 5)
    measures["half_life"] = [2.0, np.nan, 7.0, np.inf, 7.0]
    figure = gallery_chart(noise(5, 4), measures, Head(Place(0), 3), sort=HALF_LIFE)
    assert [head for _, head in order(figure)] == [3, 2, 4, 0, 1]
    assert figure.tables["picked"]["slot"].tolist() == [0]


@pytest.mark.parametrize("sort", [None, DISTANCE])
def test_a_gallery_sorts_rows_as_they_come(sort: Any) -> None:
    """The index of `measures` and the order of its rows say nothing."""
    measures, pictures = measured(3, 4), noise(12, 5)
    shuffled = np.random.default_rng(0).permutation(12)
    mixed = gallery_chart(pictures[shuffled], measures.iloc[shuffled], Head(Place(1), 2), sort=sort)
    plain = gallery_chart(pictures, measures, Head(Place(1), 2), sort=sort)
    assert order(mixed) == order(plain)
    for table in ("picture", "picked"):
        assert mixed.tables[table].to_dict("records") == plain.tables[table].to_dict("records")


@pytest.mark.parametrize("locked", [False, True])
def test_a_locked_scale_shows_weak_heads_pale(locked: bool) -> None:
    pictures = noise(2, 64)
    pictures[1] /= 10
    figure = gallery_chart(pictures, measured(1, 2), Head(Place(0), 0), locked=locked)
    limits = [pictures.max()] * 2 if locked else [picture.max() for picture in pictures]
    for head in (0, 1):
        np.testing.assert_array_equal(drawn(figure, 0, head), colours(pictures[head] / limits[head]))
    assert (drawn(figure, 0, 1)[..., 3].max() == 255) != locked


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.filterwarnings("error")
def test_heads_that_read_nothing_are_empty(locked: bool) -> None:
    pictures = np.zeros((2, 8, 8), dtype=np.float32)
    for strength in (0, 1):
        pictures[0] = strength
        figure = gallery_chart(pictures, measured(1, 2), Head(Place(0), 0), locked=locked)
        assert (drawn(figure, 0, 0)[..., 3] == 255 * strength).all()
        assert not drawn(figure, 0, 1)[..., 3].any()


@pytest.mark.parametrize("sort", [None, HALF_LIFE])
def test_one_token_fills_its_picture(sort: Any) -> None:
    _, figure = gallery(4, 8, tiles=1, sort=sort)
    assert fact(figure, "dots") == 64
    for cell in np.ndindex(4, 8):
        assert (drawn(figure, *cell)[..., 3] == 255).all()


def test_opacity_alone_tells_the_value() -> None:
    palette = glaze_palette().astype(int)
    assert len(palette) <= 16  # more take a whole byte per pixel
    assert (palette[:, :3] == palette[0, :3]).all()
    assert palette[0, 3] == 0
    assert palette[-1, 3] == 255
    assert (np.diff(palette[:, 3]) > 0).all()
    levels = glaze_levels(np.linspace(-0.5, 1.5, 99, dtype=np.float32)).astype(int)
    assert (levels.min(), levels.max()) == (0, 15)
    assert (np.diff(levels) >= 0).all()


def test_a_click_holds_layer_and_head() -> None:
    for sort in (None, DISTANCE):
        _, figure = gallery(2, 3, sort=sort)
        pick = next(each for each in figure.chart["params"] if each["name"] == PICK_FROM_GALLERY)
        assert PICK_FROM_GALLERY == "gallery_head"
        select = pick["select"]
        assert (select["type"], select["on"], select["fields"]) == (
            "point",
            "click",
            ["layer", "kind", "head"],
        )
        assert select["clear"] is False
        assert select["toggle"] is False
        (feeler,) = (layer for layer in figure.chart["layer"] if layer["mark"].get("opacity") == 0)
        assert feeler["data"]["name"] == "heads"
        assert pick["views"] == [feeler["name"]]
        assert feeler["mark"]["cursor"] == "pointer"
        tips = [tip["field"] for tip in feeler["encoding"]["tooltip"]]
        assert tips == ["layer", "what", "head", "mean_distance_told", "half_life_told"]


def test_the_picked_head_is_framed_where_it_stands() -> None:
    pictures, measures = noise(6, 4), measured(2, 3)
    for sort, at in ((None, 5), (DISTANCE, 5), (HALF_LIFE, 0)):
        figure = gallery_chart(pictures, measures, Head(Place(1), 2), sort=sort)
        assert figure.tables["picked"]["slot"].tolist() == [at]
    assert gallery_chart(pictures, measures, Head(Place(7), 0)).tables["picked"].empty


def test_hairlines_surround_every_cell_and_no_other() -> None:
    _, figure = gallery(2, 6, tiles=4, sort=DISTANCE)  # 8 and 4 in a row
    lines = figure.tables["lines"]
    level, upright = lines[lines["top"] == lines["bottom"]], lines[lines["left"] == lines["right"]]
    assert level["right"].tolist() == [8, 8, 4]
    assert upright["bottom"].tolist() == [2] * 5 + [1] * 4
    assert len(level) + len(upright) == len(lines)


@pytest.mark.parametrize("sort", [None, DISTANCE])
@pytest.mark.parametrize("locked", [False, True])
def test_576_heads_of_noise_are_soon_sent(sort: Any, locked: bool) -> None:
    _, figure = gallery(24, 24, sort=sort, locked=locked)
    assert fact(figure, "dots") == 32
    assert sent(figure) <= 300_000


def calls_for(layers: int, heads: int) -> int:
    """How many functions are called to draw so many heads."""
    pictures, measures = noise(layers * heads, 8), measured(layers, heads)
    gallery_chart(pictures, measures, Head(Place(0), 0))  # what is kept is there
    profile = cProfile.Profile()
    profile.runcall(gallery_chart, pictures, measures, Head(Place(0), 0))
    return sum(each.callcount for each in profile.getstats())


def test_576_heads_are_soon_drawn() -> None:
    """Altair describes the chart once, and nothing is done head by head."""
    assert gallery(2, 3)[1].chart is gallery(24, 24)[1].chart
    assert calls_for(48, 24) - calls_for(24, 24) < 24 * 24


@pytest.mark.parametrize(
    ("layers", "heads", "sort", "larger"),
    [
        (4, 8, None, False),
        (24, 24, None, True),
        (64, 80, None, False),
        (1, 1, None, True),
        (4, 8, HALF_LIFE, True),
        (24, 24, HALF_LIFE, False),
        (64, 80, HALF_LIFE, True),
        (1, 1, HALF_LIFE, False),
    ],
)
def test_the_whole_grid_is_in_view(layers: int, heads: int, sort: Any, larger: bool) -> None:
    import vl_convert

    _, figure = gallery(layers, heads, tiles=2, sort=sort, larger=larger)
    tables = {**figure.tables, "heads": figure.tables["heads"].head(0)}
    spec = Figure(figure.chart, tables).specification() | {"width": 1000}
    svg = ElementTree.fromstring(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    (image,) = svg.iter("{http://www.w3.org/2000/svg}image")
    across, down = fact(figure, "across"), fact(figure, "down")
    side = float(image.attrib["width"]) / across
    assert float(image.attrib["height"]) == side * down
    assert width == 1000
    assert side == min(int(side), 162 if larger else 120)
    assert across * side < 1000
    assert across * (side + 1) > 880 or side == (162 if larger else 120)
    above = height - down * side
    assert 10 <= above <= 80  # axis, edges; and no empty space below


def test_larger_type_is_larger() -> None:
    for sort in (None, DISTANCE):
        small, large = (gallery(2, 3, sort=sort, larger=larger)[1].chart for larger in (False, True))
        sizes = [
            [float(size) for size in re.findall(r'ontSize": ([\d.]+)', json.dumps(chart))]
            for chart in (small, large)
        ]
        assert sizes[0]
        np.testing.assert_allclose(sizes[1], np.array(sizes[0]) * 1.35)
