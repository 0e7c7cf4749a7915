"""Samples by the size of their evidence: thirds of those with a mask, task by task."""

import numpy as np
import pandas as pd
import pytest

from leaderboard.strata import by_mask_area


def _samples(task: str, areas: list[float]) -> pd.DataFrame:
    names = [f"{task}-{index}" for index in range(len(areas))]
    return pd.DataFrame({"task": task, "sample": names, "mask_area": areas})


def test_thirds_are_made_of_the_samples_with_a_mask() -> None:
    areas = [0.0, np.nan, *(np.arange(1, 10) / 100)]
    found = by_mask_area(_samples("t", areas))
    assert len(found) == 9
    assert found.groupby("stratum", sort=False)["sample"].size().tolist() == [3, 3, 3]
    extents = found.groupby("stratum", sort=False).mask_area.agg(["min", "max"]).to_numpy().tolist()
    assert extents == [[0.01, 0.03], [0.04, 0.06], [0.07, 0.09]]
    names = list(dict.fromkeys(found.stratum))
    assert names[0] == "small evidence, up to 3.67 % of the image"
    assert names[1] == "medium evidence, 3.67 to 6.33 % of the image"
    assert names[2] == "large evidence, above 6.33 % of the image"


def test_each_task_has_boundaries_of_its_own() -> None:
    found = by_mask_area(pd.concat([_samples("a", [0.01, 0.02, 0.03]), _samples("b", [0.4, 0.5, 0.6])]))
    assert found.groupby("task").stratum.nunique().tolist() == [3, 3]
    assert found.stratum.nunique() == 6
    assert list(found.task) == ["a"] * 3 + ["b"] * 3


def test_equal_areas_are_in_one_stratum() -> None:
    found = by_mask_area(_samples("t", [0.2] * 5))
    assert set(found.stratum) == {"small evidence, up to 20.0 % of the image"}


def test_a_sample_in_two_shards_counts_once() -> None:
    samples = _samples("t", [0.1, 0.2, 0.3])
    assert len(by_mask_area(pd.concat([samples, samples]))) == 3


@pytest.mark.parametrize("areas", [[0.0, 0.0], [np.nan]])
def test_no_mask_at_all_is_an_error(areas: list[float]) -> None:
    with pytest.raises(ValueError, match="no sample of these results has a mask"):
        by_mask_area(_samples("t", areas))
    with pytest.raises(ValueError, match="no sample of these results has a mask"):
        by_mask_area(pd.DataFrame())
